"""The memory of a merge is limited, whatever its profiles inflate to."""

import tracemalloc
from collections.abc import Callable, Iterable

import pytest

from profbucket.errors import TooMany
from profbucket.limits import Limits
from profbucket.pprof import encode, profile_pb2
from profbucket.pprof.merge import Merger

_SIZE = 4 << 20  # inflated bytes of each profile
_LIMIT_BYTES = 50 << 20


def make_profile(number: int, *, filler: list[bytes], stacks: int = 0) -> bytes:
    return encode(
        profile_pb2.Profile(
            string_table=[b"", b"cpu", b"nanoseconds", *filler],
            sample_type=[{"type": 1, "unit": 2}],
            location=[{"id": 1, "address": number}, {"id": 2}],
            function=[{"id": 1 + i, "name": 3 + i} for i in range(len(filler))],
            sample=[
                {"location_id": [1 + (i >> bit & 1) for bit in range(200)], "value": [1]} for i in range(stacks)
            ],
        )
    )


def add_all(merger: Merger, profiles: Iterable[bytes]) -> None:
    for data in profiles:
        merger.add(data)


def long_strings(number: int) -> bytes:
    return make_profile(number, filler=[b"%d" % number + b"x" * _SIZE])


def many_strings(number: int) -> bytes:
    return make_profile(number, filler=[b"%d-%d" % (number, i) for i in range(50_000)])


def many_stacks(number: int) -> bytes:
    return make_profile(number, filler=[], stacks=10_000)


@pytest.mark.parametrize("make", [long_strings, many_strings, many_stacks])
def test_distinct_content_is_limited(make: Callable[[int], bytes]) -> None:
    merger = Merger(Limits(merge_memory_bytes=_LIMIT_BYTES))
    tracemalloc.start()
    try:
        with pytest.raises(TooMany) as caught:
            add_all(merger, map(make, range(1, 200)))
        memory = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.code == "max_merge_memory_bytes_exceeded"
    assert memory < 4 * _LIMIT_BYTES


def test_equal_content_counts_once() -> None:
    merger = Merger(Limits(merge_memory_bytes=_LIMIT_BYTES))
    data = long_strings(1)
    for _ in range(100):
        merger.add(data)
    assert merger.result()
    assert _SIZE < merger.accumulator.estimate_bytes() < 3 * _SIZE
