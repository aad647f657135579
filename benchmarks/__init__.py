"""Benchmarks: each script prints its figures, and connects to 127.0.0.1 only."""
