"""Kinds of values, and ways in which those of many profiles become one.

Values of a duration add up; those of a moment, such as the memory in use, and counters since the start of a
process do not.
"""

from enum import StrEnum


class Kind(StrEnum):
    """The meaning of a sample type's values."""

    SUM = "sum"  # what happened during the profile, such as CPU time
    INSTANT = "instant"  # the state at the time of the profile, such as memory in use
    CUMULATIVE = "cumulative"  # what happened since the start of the process, such as Go's alloc_space


class Aggregate(StrEnum):
    """A way to make one value of those of many profiles."""

    SUM = "sum"
    AVERAGE = "average"
    LATEST = "latest"
    DELTA = "delta"
    AUTO = "auto"  # by kind
