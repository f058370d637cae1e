"""Benchmarks: one program per claim, rivals beside ours. `python -m benches --help` tells how to run them."""
