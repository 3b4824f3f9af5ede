"""Measurements, side by side with their peers: ``make bench``."""
