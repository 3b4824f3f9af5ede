"""Request logs and metrics."""
