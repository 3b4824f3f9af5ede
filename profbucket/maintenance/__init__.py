"""Compact the head into blocks; compare the index with the bucket and repair it."""
