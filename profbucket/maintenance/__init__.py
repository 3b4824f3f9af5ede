"""Maintenance of a storage: compaction, and repair of the index."""
