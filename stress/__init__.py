"""Long, seeded versions of what the tests only sample: `make stress SEED=1 KILLS=10000`."""
