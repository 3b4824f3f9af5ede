"""Histories: rounds of posts, alone and in batches, with extreme values, times and limits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from profbucket.errors import ProfbucketError
from profbucket.ingest.collector import Collector
from profbucket.limits import Limits
from profbucket.model.labels import Labels, parse_matchers
from profbucket.model.meta import Meta, Query
from profbucket.model.profile_type import ProfileType
from profbucket.model.upload import Upload
from profbucket.pprof import codec
from profbucket.pprof.compression import inflate
from profbucket.pprof.precheck import count_entries
from profbucket.storage.store import Storage
from profbucket.times import LATEST, SECOND
from tests.support.profiles import Label, Location, Mapping, Profile, Sample, Style, encode, stack

MIDNIGHT = 1_795_392_000 * SECOND  # 2026-11-23T00:00:00Z
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

CPU, HEAP, WALL = ProfileType.CPU, ProfileType.HEAP, ProfileType("wall")
SERVICE = "api"

_LARGEST, _SMALLEST = 2**63 - 1, -(2**63)

# Each profile of a service and type has one of these.
_SAMPLE_TYPES: dict[ProfileType, list[tuple[tuple[bytes, bytes], ...]]] = {
    CPU: [
        ((b"samples", b"count"), (b"cpu", b"ns")),
        ((b"samples", b"count"), (b"cpu", b"ms")),
        ((b"cpu", b"us"), (b"samples", b"count")),
        ((b"cpu", b"ns"), (b"wall", b"ns"), (b"samples", b"count")),
    ],
    HEAP: [
        ((b"alloc_objects", b"count"), (b"alloc_space", b"bytes"), (b"inuse_space", b"bytes")),
        ((b"alloc_space", b"bytes"), (b"inuse_space", b"bytes")),
        ((b"inuse_space", b"kB"), (b"alloc_space", b"kB")),
    ],
    WALL: [((b"wall", b"ns"),), ((b"lock", b"count"),)],  # nothing in common
}

_BINARIES = [Mapping(0x1000 * base, 0x1000 * base + 0x5000, 0, b"/bin/app", b"abc") for base in (1, 4096)]
_FRAMES = st.sampled_from(
    [
        *stack("main", "work", "wait"),
        *(Location(binary, binary.start + 16 * n) for binary in _BINARIES for n in range(2)),
        Location(None, 2**64 - 1),
    ]
)
_VALUES = st.sampled_from([0, 1, 1, 7, -1, 2**40, 2**62, -(2**62), _LARGEST, _SMALLEST])
_NUMBERS = st.sampled_from([0, 1, 10**9, 2**62, _LARGEST])
_SAMPLE_LABELS = st.sampled_from(
    [
        (),
        (Label(b"k", b"a"),),
        (Label(b"k", number=_SMALLEST, unit=b"ms"),),
        (Label(b"span id", number=5),),
        (Label(b"k", b"a"), Label(b"trace_id", b"t1")),
        (Label(b"trace_id", b"t2"), Label(b"k", b"a")),
    ]
)
_MINUTES = st.integers(0, 59) | st.integers(0, 3 * 1440)
_TIMES = _MINUTES.map(lambda minute: MIDNIGHT + minute * MINUTE)
_RARE_TIMES = st.sampled_from([7 * DAY, 1, LATEST, LATEST - 1, LATEST // DAY * DAY])
_LABELS = st.sampled_from(["", "v=1", "v=2", "v=1,pod=a"])
_STYLES = st.sampled_from([Style(), Style(packed="never", ids="huge"), Style(unknown_fields=True, gzip=False)])


_BLOCK_LIMITS = [
    Limits(),
    Limits(block_members=2),
    Limits(block=3),
    Limits(block_entries=3),
    Limits(block_bytes=3000),
    Limits(block_memory_bytes=4000),
    Limits(dropped_labels=()),
    Limits(dropped_labels=("k", "request")),
]


@dataclass(frozen=True)
class Post:
    """An upload. ``created_at`` dates a profile that has no time of its own.

    Those of a round with the same ``batch`` are posted together, those of batch 0 alone.
    """

    profile_type: ProfileType
    labels: str
    data: bytes
    created_at: int
    batch: int = 0

    def to_upload(self) -> Upload:
        return Upload(SERVICE, self.profile_type, Labels.parse(self.labels), self.data, self.created_at)

    def apply(self, storage: Storage, limits: Limits) -> Meta | None:
        """Store the profile and return its meta; ``None`` if it is not accepted."""
        try:
            return Collector(storage, limits).collect(
                SERVICE, self.profile_type, Labels.parse(self.labels), self.data, self.created_at
            )
        except ProfbucketError:
            return None


def apply_round(posts: Sequence[Post], storage: Storage, limits: Limits) -> list[Meta | None]:
    """Store the profiles, alone or in batches, and return their metas; ``None`` for those not accepted."""
    metas: dict[Post, Meta | None] = {post: post.apply(storage, limits) for post in posts if not post.batch}
    for number in sorted({post.batch for post in posts} - {0}):
        batch = [post for post in posts if post.batch == number]
        outcomes = Collector(storage, limits).store_batch([post.to_upload() for post in batch])
        metas |= {
            post: outcome if isinstance(outcome, Meta) else None
            for post, outcome in zip(batch, outcomes, strict=True)
        }
    return [metas[post] for post in posts]


@dataclass(frozen=True)
class History:
    """Rounds of posts, each followed by a compaction at one of ``clocks``; limits; and questions' queries.

    The profiles in ``repeats`` are posted again, after the round that they are in or the last one.
    """

    rounds: Sequence[Sequence[Post]]
    clocks: Sequence[int]
    rebuilds: Sequence[bool]  # whether the index is lost after a round
    limits: Limits
    are_blocks_large: bool  # so that merges of some rows leave out what these do not use
    queries: Sequence[Query]
    repeats: Sequence[Post] = ()


@st.composite
def draw_sample(draw: Callable[..., Any], width: int, number: int) -> Sample:
    frames = tuple(draw(st.lists(_FRAMES, min_size=1, max_size=3)))
    values = tuple(draw(st.lists(_VALUES, min_size=width, max_size=width)))
    labels = draw(_SAMPLE_LABELS)
    if draw(st.booleans()):  # no other profile has such a sample
        frames = (*stack(f"own-{number}"), *frames)
        labels = (*labels, Label(b"request", b"%d" % number))
    return Sample(frames, values, labels)


@st.composite
def draw_post(draw: Callable[..., Any], times: st.SearchStrategy[int]) -> Post:
    profile_type = draw(st.sampled_from([CPU, CPU, HEAP, WALL]))
    types = draw(st.sampled_from([_SAMPLE_TYPES[profile_type][0], *_SAMPLE_TYPES[profile_type]]))
    first = draw(st.integers(0, 30))
    count = draw(st.integers(1, 5))
    samples = tuple(draw(draw_sample(len(types), first + i)) for i in range(count))
    taken_at = draw(times)
    content = Profile(
        samples,
        sample_types=types,
        period_type=draw(
            st.sampled_from([(b"cpu", b"ns"), (b"cpu", b"ns"), (b"cpu", b"ms"), (b"space", b"bytes")])
        ),
        period=draw(_NUMBERS),
        time_nanos=draw(st.sampled_from([taken_at, taken_at, 0, -1])),
        duration_nanos=draw(_NUMBERS | st.just(-5)),
        comments=tuple(draw(st.lists(st.sampled_from([b"one", b"two"]), max_size=2, unique=True))),
        doc_url=draw(st.sampled_from([b"", b"https://example.com"])),
    )
    data, batch = encode(content, draw(_STYLES)), draw(st.sampled_from([0, 1, 1, 1, 2]))
    return Post(profile_type, draw(_LABELS), data, taken_at, batch)


@st.composite
def draw_round(draw: Callable[..., Any]) -> Sequence[Post]:
    """Return posts of which some are of one or two minutes, so that they fit one batch."""
    minute = draw(_TIMES)
    near = st.sampled_from([minute, minute, minute + MINUTE])
    times = st.one_of(near, near, near, _TIMES, _RARE_TIMES)
    posts: Sequence[Post] = draw(st.lists(draw_post(times), min_size=1, max_size=4))
    return posts


def fit_limits(posts: Sequence[Post], limits: Limits) -> Limits:
    """Return *limits* that the largest of *posts* just fits."""
    profiles = [codec.decode(post.data) for post in posts]
    raws = [inflate(post.data) for post in posts]
    return replace(
        limits,
        inflated_bytes=max(map(len, raws)),
        entries=max(count_entries(raw, Limits()) for raw in raws),
        sample_types=max(len(profile.totals) for profile in profiles),
        name_bytes=max(sum(len(t.type) + len(t.unit) for t in profile.totals) for profile in profiles),
        body_bytes=max(len(post.data) for post in posts),
    )


@st.composite
def draw_history(draw: Callable[..., Any]) -> History:
    rounds = draw(st.lists(draw_round(), min_size=1, max_size=2))
    posts = [post for posts in rounds for post in posts]
    limits = draw(st.sampled_from(_BLOCK_LIMITS))
    if draw(st.booleans()):
        limits = fit_limits(posts, limits)
    clocks = draw(st.lists(_TIMES | st.just(LATEST), min_size=len(rounds), max_size=len(rounds)).map(sorted))
    rebuilds = draw(st.lists(st.booleans(), min_size=len(rounds), max_size=len(rounds)))
    times = draw(st.lists(_TIMES, min_size=2, max_size=2).map(sorted))
    profile_type = draw(st.sampled_from([CPU, HEAP]))
    queries = [
        *(Query(SERVICE, each, 0, LATEST) for each in dict.fromkeys(post.profile_type for post in posts)),
        Query(SERVICE, profile_type, times[0], times[1]),
        Query(
            SERVICE,
            profile_type,
            0,
            LATEST,
            tuple(parse_matchers(draw(st.sampled_from(["v=1", "v!=1", "pod=a"])))),
        ),
        Query(SERVICE, profile_type, times[0], LATEST, tuple(parse_matchers("v=~1|2"))),
        Query(SERVICE, profile_type, 0, LATEST, limit=draw(st.integers(1, 3))),
    ]
    again = draw(st.lists(st.sampled_from(posts), max_size=3))
    repeats = [replace(post, batch=draw(st.sampled_from([0, post.batch, 1]))) for post in again]
    return History(rounds, clocks, rebuilds, limits, draw(st.booleans()), queries, repeats)
