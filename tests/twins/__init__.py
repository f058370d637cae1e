"""Twins: every body runs on the standard library's multiprocessing and on ours, and both must do the same."""
