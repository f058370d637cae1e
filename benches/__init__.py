"""Benchmarks: one program per claim, next to its competitors. `python -m benches --help` describes how to run them."""
