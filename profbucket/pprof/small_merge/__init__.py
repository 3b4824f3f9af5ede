"""Merges of a few small files in Python, in less time than it takes to import numpy.

The results have the bytes of ``Merger``'s. Only profiles with equal sample types and frames to drop are merged
here, and errors are left to ``Merger``, too: this package has none of its rules about them.
"""
