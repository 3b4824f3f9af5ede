"""Benchmarks, compared with peers: ``make bench``."""
