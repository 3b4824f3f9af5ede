"""An hour of one process, whose heap profiles have 50 MB in use; counters grow by 100 KB a minute."""

from collections.abc import Iterator

from profbucket.times import SECOND
from tests.support.profiles import Profile, Sample, encode, stack

BEGIN = 1_800_000_000 * SECOND  # 2027-01-15T08:00:00Z
PROFILES = 52
TYPES = (
    (b"alloc_objects", b"count"),
    (b"alloc_space", b"bytes"),
    (b"inuse_objects", b"count"),
    (b"inuse_space", b"bytes"),
)
_MB, _KB = 1 << 20, 1 << 10


def hour_of_heap() -> Iterator[bytes]:
    """Yield a profile for each of the first 52 minutes: 40 and 10 MB in use, more or less."""
    for minute in range(PROFILES):
        in_use = 40 * _MB + (-1) ** minute * _MB // 2
        cache = (1000 + minute, 90 * _MB + 60 * _KB * minute, 400, in_use)
        read = (500 + minute, 9 * _MB + 40 * _KB * minute, 100, 10 * _MB)
        samples = (Sample(stack("main.cache"), cache), Sample(stack("main.read"), read))
        yield encode(Profile(samples, sample_types=TYPES, time_nanos=BEGIN + 60 * minute * SECOND))
