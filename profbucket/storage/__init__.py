"""Where profiles are kept: the ports, a twin in memory, and the view of head and blocks as one.

This file holds no imports, so that a backend that imports the ports loads nothing else.
"""
