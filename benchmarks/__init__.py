"""Speeds as ratios to a reference, measured in one process: ``python -m benchmarks``."""
