"""The merge engine: profiles as numpy columns instead of message objects.

Protobuf splits a profile (``split``), a batch of split profiles is read as columns (``read_batch``), added to what
the merge holds (``accumulator``) and encoded (``encode``).
"""
