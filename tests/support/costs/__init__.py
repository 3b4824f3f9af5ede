"""The billed operations of a collector in Google Cloud, and what they cost."""
