"""Blocks: many profiles in one object. Their container, their sparse matrices, how they are built and read."""
