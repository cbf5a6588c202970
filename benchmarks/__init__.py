"""Benchmarks of fastad: suites for asv, and ``compare.py`` for ratios in one run."""
