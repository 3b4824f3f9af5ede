"""Validation and storage of the profiles that agents upload."""
