"""Random histories: whatever is posted, compacted and expires in whichever order, all answers stay the same."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profbucket.errors import Invalid
from profbucket.ingest.collector import Collector
from profbucket.limits import Limits
from profbucket.maintenance.compactor import Compactor
from profbucket.maintenance.repair import State, fsck, reindex
from profbucket.model.ids import ProfileId
from profbucket.model.labels import Labels, parse_matchers
from profbucket.model.meta import Query
from profbucket.model.profile_type import ProfileType
from profbucket.periods import CompactionPolicy
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from profbucket.times import SECOND
from tests.support.profiles import Label, Location, Mapping, Profile, Sample, Style, encode, stack
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
def samples(draw: Callable[..., Any], width: int) -> Sample:
    frames = draw(st.lists(FRAMES, min_size=1, max_size=3))
    values = draw(st.lists(st.sampled_from([0, 1, -1, 7, 2**40, -(2**40)]), min_size=width, max_size=width))
    labels = draw(st.sampled_from([(), (Label(b"k", b"a"),), (Label(b"k", number=3, unit=b"ms"),)]))
    return Sample(tuple(frames), tuple(values), labels)


@dataclass(frozen=True)
class Post:
    """A profile of a service, type and version, taken at a minute since midnight."""

    service: str
    kind: ProfileType
    labels: str
    minute: int
    profile: Profile
    style: Style

    def to(self, storage: Storage) -> None:
        content = replace(self.profile, sample_types=TYPES[self.kind], time_nanos=MIDNIGHT + self.minute * MINUTE)
        Collector(storage).collect(self.service, self.kind, Labels.parse(self.labels), encode(content, self.style))


@dataclass(frozen=True)
class Compact:
    """A compaction when it is that minute, with these caps, that is cut off after so many steps."""

    minute: int
    limits: Limits
    steps: int

    def to(self, storage: Storage) -> None:
        compactor = Compactor(
            storage,
            self.limits,
            CompactionPolicy(3600, 4 * 3600, 0, 1800),
            clock=lambda: MIDNIGHT + self.minute * MINUTE,
        )
        for number, _ in enumerate(compactor.run(), 1):
            if number == self.steps:
                break


@dataclass(frozen=True)
class Expire:
    """The objects of all profiles that are in blocks are gone."""

    def to(self, storage: Storage) -> None:
        for service in storage.index.services():
            for found in storage.lookup.locate(Query(service, None, 0, 2**62)):
                if found.block:
                    storage.bucket.delete(ProfileId.parse(found.meta.id).object_key)


@dataclass(frozen=True)
class Rebuild:
    """The index is lost, and made anew from the bucket."""

    def to(self, storage: Storage) -> None:
        for service in storage.index.services():
            blocks, head = storage.index.snapshot(selection(service))
            storage.index.remove([*(block.id for block in blocks), *(meta.id for meta in head)])
        list(reindex(storage))


def selection(service: str) -> Any:
    from profbucket.storage.ports import Selection

    return Selection(service, None, 0, 2**62)


@st.composite
def posts(draw: Callable[..., Any]) -> Post:
    kind = draw(st.sampled_from([CPU, CPU, HEAP]))
    profile = Profile(
        tuple(draw(st.lists(samples(len(TYPES[kind])), min_size=1, max_size=4))),
        period=draw(st.sampled_from([0, 10_000_000, 5])),
        duration_nanos=draw(st.sampled_from([0, 10**10])),
        comments=tuple(draw(st.lists(st.sampled_from([b"one", b"two"]), max_size=2, unique=True))),
        default_sample_type=draw(st.sampled_from([b"", b"cpu"])),
    )
    return Post(
        draw(st.sampled_from(["api", "api", "web"])),
        kind,
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
)
HISTORIES = st.lists(
    posts() | posts() | posts() | COMPACTIONS | st.just(Expire()) | st.just(Rebuild()), min_size=4, max_size=25
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


def answers(storage: Storage, query: Query) -> list[Any]:
    found = list(storage.lookup.find(query))
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
        # Which one is "the first that is set" depends on the order in which blocks are read.
        merge = replace(merge, header=replace(merge.header, default_sample_type=b""))
    return [found, pages, merge, list_data_points(storage, query)]


@settings(max_examples=150)
@given(HISTORIES, st.lists(QUERIES, min_size=3, max_size=6))
def test_all_answers_are_those_of_a_storage_that_was_never_compacted(
    history: list[Post | Compact | Expire | Rebuild], queries: list[Query]
) -> None:
    compacted, plain = (Storage(MemoryBucket(), MemoryIndex()) for _ in range(2))
    for event in history:
        event.to(compacted)
        if isinstance(event, Post):
            event.to(plain)
    assert compacted.index.services() == plain.index.services()
    asked = [*queries, Query("api", CPU, 0, 2**62), Query("web", HEAP, 0, 2**62)]
    expected = [answers(plain, query) for query in asked]
    assert [answers(compacted, query) for query in asked] == expected
    list(reindex(compacted))
    assert {one.state for one in fsck(compacted)} <= {State.OK}
    assert [answers(compacted, query) for query in queries] == expected[: len(queries)]


@pytest.mark.parametrize(("short", "long"), [(0, 10), (10, 5), (7, 10), (3600, 8 * 86400)])
def test_periods_that_do_not_fit_into_each_other_are_refused(short: int, long: int) -> None:
    with pytest.raises(Invalid, match="the long one is a multiple, a week at most"):
        CompactionPolicy(short, long)
