"""Arithmetic in 64 bits, and times and durations as profiles hold them."""

MAX_INT64 = 2**63 - 1

# Times before this are taken as unknown. Encoders without a clock write 0, Go's zero time, which is negative, or
# the time since the start of the process or of the machine.
MIN_TIME_NANOS = 7 * 86400 * 10**9


def wrap_int64(value: int) -> int:
    """Return *value* wrapped to 64 bits, as Go's integers overflow."""
    return (value + 2**63) % 2**64 - 2**63


def normalize_time(nanos: int) -> int:
    """Return the time *nanos* since 1970, 0 if it is unknown."""
    return nanos if nanos >= MIN_TIME_NANOS else 0
