"""Adjacent ranges of an object are read at once, and are what they are alone."""

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.ingest.collector import Collector
from profbucket.model.labels import Labels
from profbucket.model.meta import Query
from profbucket.model.profile_type import ProfileType
from profbucket.model.upload import Upload
from profbucket.storage.joined_ranges import get_joined
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.ports import ObjectRange
from profbucket.storage.store import Storage
from tests.support.api import NOW, pprof
from tests.support.storage.examples import ALL_TIME

TYPES = (ProfileType.CPU, ProfileType.HEAP, ProfileType.WALL)


class CountingBucket(MemoryBucket):
    """Notes the ranges that are read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[ObjectRange] = []

    def get_many(self, ranges: Sequence[ObjectRange]) -> Iterator[bytes | None]:
        self.read += ranges
        return super().get_many(ranges)


@st.composite
def object_ranges(draw: st.DrawFn) -> list[ObjectRange]:
    """Return ranges of three objects, of which one does not exist; many adjoin the one before."""
    ranges: list[ObjectRange] = []
    for _ in range(draw(st.integers(0, 8))):
        key, begin = draw(st.sampled_from("abx")), draw(st.integers(0, 8))
        if ranges and ranges[-1].end and draw(st.booleans()):
            key, begin = ranges[-1].key, ranges[-1].end
        ranges.append(ObjectRange(key, begin, draw(st.none() | st.integers(begin + 1, begin + 4))))
    return ranges


@given(object_ranges())
def test_ranges_are_what_they_are_alone(ranges: list[ObjectRange]) -> None:
    bucket = CountingBucket()
    for key in "ab":
        bucket.put(key, bytes(range(100)), {})
    alone = [next(bucket.get_many([item])) for item in ranges]
    bucket.read.clear()
    assert list(get_joined(bucket, ranges)) == alone
    assert len(bucket.read) <= len(ranges)


def test_ranges_that_are_large_together_are_read_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("profbucket.storage.joined_ranges._MAX_BYTES", 5)
    bucket = CountingBucket()
    bucket.put("a", bytes(range(9)), {})
    assert b"".join(filter(None, get_joined(bucket, [ObjectRange("a", n, n + 2) for n in range(0, 8, 2)])))
    assert bucket.read == [ObjectRange("a", 0, 4), ObjectRange("a", 4, 8)]


def test_an_object_that_is_cut_short_has_empty_ranges() -> None:
    bucket = CountingBucket()
    bucket.put("a", b"0123", {})
    ranges = [ObjectRange("a", 0, 3), ObjectRange("a", 3, 6), ObjectRange("a", 6, 8)]
    assert list(get_joined(bucket, ranges)) == [b"012", b"3", b""]


def test_the_profiles_of_a_type_in_a_batch_are_read_at_once() -> None:
    """Though those of all types were posted in turn."""
    bucket = CountingBucket()
    storage = Storage(bucket, MemoryIndex())
    uploads = [
        Upload("shop", profile_type, Labels.from_pairs([("pod", str(pod))]), pprof(pod + 1, at=NOW + pod))
        for pod in range(10)
        for profile_type in TYPES
    ]
    Collector(storage).store_batch(uploads)
    for profile_type in TYPES:
        bucket.read.clear()
        metas = list(storage.lookup.find(Query("shop", profile_type, *ALL_TIME)))
        expected = [upload.data for upload in uploads if upload.type == profile_type]
        assert list(storage.lookup.read_profiles(metas)) == expected
        assert len(bucket.read) == 1
