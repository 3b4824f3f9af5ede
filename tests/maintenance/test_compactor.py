"""Random events: compaction and expiry, in any order, change no answer."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.errors import Invalid
from profbucket.ingest.collector import Collector
from profbucket.limits import Limits
from profbucket.maintenance.compactor import Compactor
from profbucket.maintenance.findings import State
from profbucket.maintenance.repair import fsck, reindex
from profbucket.model.ids import ProfileId
from profbucket.model.labels import Labels, parse_matchers
from profbucket.model.meta import Query
from profbucket.model.profile_type import ProfileType
from profbucket.periods import CompactionPolicy
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.ports import Selection
from profbucket.storage.store import Storage
from profbucket.times import SECOND
from tests.support.profiles import Label, Location, Mapping, Profile, Sample, Style, encode, stack
from tests.support.property_tests import examples
from tests.support.storage.compaction_suite import MIDNIGHT, list_data_points, merge_canonically

CPU, HEAP = ProfileType.CPU, ProfileType.HEAP
MINUTE = 60 * SECOND
TYPES = {CPU: ((b"samples", b"count"), (b"cpu", b"nanoseconds")), HEAP: ((b"inuse_space", b"bytes"),)}

BINARIES = [Mapping(0x1000 * base, 0x1000 * base + 0x5000, 0, b"/bin/app", b"abc") for base in (1, 4096)]
FRAMES = st.sampled_from(
    [
        *stack("main", "work", "wait"),
        *(Location(binary, binary.start + 16 * n) for binary in BINARIES for n in range(2)),
    ]
)


@st.composite
def draw_sample(draw: Callable[..., Any], width: int) -> Sample:
    frames = draw(st.lists(FRAMES, min_size=1, max_size=3))
    values = draw(st.lists(st.sampled_from([0, 1, -1, 7, 2**40, -(2**40)]), min_size=width, max_size=width))
    labels = draw(st.sampled_from([(), (Label(b"k", b"a"),), (Label(b"k", number=3, unit=b"ms"),)]))
    return Sample(tuple(frames), tuple(values), labels)


@dataclass(frozen=True)
class Post:
    """A profile of a service, type and version, taken at a minute since midnight."""

    service: str
    profile_type: ProfileType
    labels: str
    minute: int
    profile: Profile
    style: Style

    def apply(self, storage: Storage) -> None:
        content = replace(
            self.profile, sample_types=TYPES[self.profile_type], time_nanos=MIDNIGHT + self.minute * MINUTE
        )
        with mock.patch("profbucket.storage.store.time.time_ns", return_value=MIDNIGHT):  # so that none is late
            Collector(storage).collect(
                self.service, self.profile_type, Labels.parse(self.labels), encode(content, self.style)
            )


@dataclass(frozen=True)
class Compact:
    """A compaction at a minute since midnight, of all or what is due, cut off after this number of steps."""

    minute: int
    limits: Limits
    steps: int
    due: bool

    def apply(self, storage: Storage) -> None:
        compactor = Compactor(
            storage,
            self.limits,
            CompactionPolicy(3600, 4 * 3600, 12 * 3600, 0, 1800),
            clock=lambda: MIDNIGHT + self.minute * MINUTE,
        )
        steps = compactor.run_due() if self.due else compactor.run()
        for number, _ in enumerate(steps, 1):
            if number == self.steps:
                break


@dataclass(frozen=True)
class Expire:
    """The objects of all profiles in blocks expire."""

    def apply(self, storage: Storage) -> None:
        for service in storage.index.services():
            for profile in storage.lookup.locate(Query(service, None, 0, 2**62)):
                if profile.block:
                    storage.bucket.delete(ProfileId.parse(profile.meta.id).object_key)


@dataclass(frozen=True)
class Rebuild:
    """The index is lost, and rebuilt from the bucket."""

    def apply(self, storage: Storage) -> None:
        for service in storage.index.services():
            blocks, head = storage.index.snapshot(select_all(service))
            storage.index.remove([*(block.id for block in blocks), *(meta.id for meta in head)])
        list(reindex(storage))


def select_all(service: str) -> Selection:
    return Selection(service, None, 0, 2**62)


@st.composite
def draw_post(draw: Callable[..., Any]) -> Post:
    profile_type = draw(st.sampled_from([CPU, CPU, HEAP]))
    profile = Profile(
        tuple(draw(st.lists(draw_sample(len(TYPES[profile_type])), min_size=1, max_size=4))),
        period=draw(st.sampled_from([0, 10_000_000, 5])),
        duration_nanos=draw(st.sampled_from([0, 10**10])),
        comments=tuple(draw(st.lists(st.sampled_from([b"one", b"two"]), max_size=2, unique=True))),
        default_sample_type=draw(st.sampled_from([b"", b"cpu"])),
    )
    return Post(
        draw(st.sampled_from(["api", "api", "web"])),
        profile_type,
        draw(st.sampled_from(["", "v=1", "v=2", "v=1,pod=a"])),
        draw(st.integers(0, 600)),
        profile,
        draw(st.sampled_from([Style(), Style(packed="never", ids="sparse"), Style(unknown_fields=True)])),
    )


COMPACTIONS = st.builds(
    Compact,
    st.integers(0, 900),
    st.sampled_from([Limits(), Limits(block_members=2), Limits(block=3), Limits(block_entries=3)]),
    st.integers(1, 12),
    st.booleans(),
)
EVENTS = st.lists(
    draw_post() | draw_post() | draw_post() | COMPACTIONS | st.just(Expire()) | st.just(Rebuild()),
    min_size=4,
    max_size=25,
)
QUERIES = st.builds(
    Query,
    st.sampled_from(["api", "api", "web"]),
    st.sampled_from([CPU, CPU, HEAP]),
    st.integers(-10, 600).map(lambda minute: MIDNIGHT + minute * MINUTE),
    st.integers(0, 610).map(lambda minute: MIDNIGHT + minute * MINUTE),
    st.sampled_from(["", "v=1", "v!=1", "pod=a", "v=~1|2", "v=3"]).map(lambda text: tuple(parse_matchers(text))),
    limit=st.sampled_from([None, None, 1, 3]),
)


def answer_all(storage: Storage, query: Query) -> list[Any]:
    """Return the results of a find, of all its pages, of a merge and of a timeline."""
    profiles = list(storage.lookup.find(query))
    pages: list[Any] = []
    page = list(storage.lookup.find(replace(query, limit=2)))
    while page and len(pages) < 100:
        pages += page
        page = list(storage.lookup.find(replace(query, limit=2, after=page[-1].position)))
    try:
        merge: Any = merge_canonically(storage, query)
    except Invalid as error:
        merge = str(error)
    if not isinstance(merge, str):
        # The first one that is set is kept, which depends on the order in which blocks are read.
        merge = replace(merge, header=replace(merge.header, default_sample_type=b""))
    return [profiles, pages, merge, list_data_points(storage, query)]


@examples(40)
@given(EVENTS, st.lists(QUERIES, min_size=3, max_size=6))
def test_all_answers_equal_those_of_a_storage_that_was_never_compacted(
    events: list[Post | Compact | Expire | Rebuild], queries: list[Query]
) -> None:
    compacted, uncompacted = (Storage(MemoryBucket(), MemoryIndex()) for _ in range(2))
    for event in events:
        event.apply(compacted)
        if isinstance(event, Post):
            event.apply(uncompacted)
    assert compacted.index.services() == uncompacted.index.services()
    all_queries = [*queries, Query("api", CPU, 0, 2**62), Query("web", HEAP, 0, 2**62)]
    expected = [answer_all(uncompacted, query) for query in all_queries]
    assert [answer_all(compacted, query) for query in all_queries] == expected
    list(reindex(compacted))
    assert {finding.state for finding in fsck(compacted)} <= {State.OK}
    assert [answer_all(compacted, query) for query in queries] == expected[: len(queries)]


@pytest.mark.parametrize(("short", "long"), [(0, 10), (10, 5), (7, 10), (3600, 8 * 86400)])
def test_invalid_block_periods_are_rejected(short: int, long: int) -> None:
    with pytest.raises(Invalid, match="each must be a multiple"):
        CompactionPolicy(short, long)


def test_the_longest_period_is_a_multiple_and_bounded() -> None:
    for longest in (86400, 7 * 86400, 30 * 86400):
        assert CompactionPolicy(longest=longest).longest == longest
    for longest in (3600, 36 * 3600, 31 * 86400):
        with pytest.raises(Invalid, match="each must be a multiple"):
            CompactionPolicy(longest=longest)
