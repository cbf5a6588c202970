"""Compiled functions beside hand-written C and other packages: ``python benchmarks/compare.py --compiled``."""
