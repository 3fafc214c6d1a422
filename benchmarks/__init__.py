"""Measurements behind the claims of README.md: `python -m benchmarks`."""
