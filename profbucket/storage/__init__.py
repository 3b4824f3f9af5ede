"""Storage of profiles: the ports, an in-memory backend, and one view over head and blocks.

This file imports nothing, so that a backend that imports the ports loads nothing else.
"""
