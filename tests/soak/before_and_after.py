"""Batches, compaction, expiry and a lost index change no answer, whatever was accepted.

A history of posts goes into two storages. One gets each profile alone and is never changed again; the other gets
some in batches and some again, is compacted in between and at the end, its profiles expire, and its index is lost.
Both must answer every question alike. Values, times and durations are extreme, and each profile alone just fits
limits that several together exceed.

``python -m tests.soak.before_and_after --examples 2000`` runs it; a test runs a hundred examples.

Two things depend on the order in which blocks are read, and are compared without it: the order of sample types,
and the four strings of the first profile that sets them, such as ``doc_url``, which all profiles here share.
"""

import argparse
import logging
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from profbucket.errors import ProfbucketError
from profbucket.ingest.collector import Collector
from profbucket.limits import Limits
from profbucket.maintenance import repair
from profbucket.maintenance.compactor import Compactor
from profbucket.maintenance.findings import State
from profbucket.maintenance.repair import fsck, reindex
from profbucket.model.ids import ProfileId, profile_prefix
from profbucket.model.labels import Labels, parse_matchers
from profbucket.model.merge_options import MergeOptions
from profbucket.model.meta import Meta, Query
from profbucket.model.profile_type import ProfileType
from profbucket.model.sample_kinds import Aggregate
from profbucket.model.upload import Upload
from profbucket.pprof import codec
from profbucket.pprof.block import content as block_content
from profbucket.pprof.columnar import split
from profbucket.pprof.compression import inflate
from profbucket.pprof.precheck import count_entries
from profbucket.query.flamegraph import build_flame_graph
from profbucket.query.querier import Querier
from profbucket.storage import store
from profbucket.storage.batches import is_batch_key
from profbucket.storage.listing import list_prefix
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.ports import Series, SeriesSelection
from profbucket.storage.sources import range_of_profile
from profbucket.storage.store import Storage
from profbucket.times import LATEST, SECOND
from tests.support.canonical import canonicalize
from tests.support.profiles import Label, Location, Mapping, Profile, Sample, Style, encode, stack
from tests.support.storage.interleaving import SynchronousExecutor

MIDNIGHT = 1_795_392_000 * SECOND  # 2026-11-23T00:00:00Z
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

CPU, HEAP, WALL = ProfileType.CPU, ProfileType.HEAP, ProfileType("wall")
SERVICE = "api"
DELTA = MergeOptions(aggregate=Aggregate.DELTA)

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

_Question = tuple[str, Callable[[Querier], object]]  # with a name

_LIMIT_CODE = re.compile("max_.*_exceeded")


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


def normalize_pprof(data: bytes) -> object:
    """Return the content of a merge without the order of sample types and of comments, and without zeros.

    The comment about sample types that are left out counts objects, so it is cut off.
    """
    content = canonicalize(data)
    header = content.header
    order = sorted(range(len(header.sample_types)), key=lambda column: header.sample_types[column])
    comments = sorted(comment.partition(b"; left out: ")[0] for comment in header.comments)
    samples = {
        key: tuple(_wrap(values[column]) for column in order)
        for key, values in content.samples.items()
        if any(map(_wrap, values))
    }
    normalized = replace(
        header, sample_types=tuple(header.sample_types[column] for column in order), comments=tuple(comments)
    )
    return normalized, samples


def _wrap(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63


def normalize_timeline(timeline: dict[str, Any]) -> dict[str, Any]:
    """Return *timeline* with its sample types sorted."""
    names = [(each["type"], each["unit"]) for each in timeline["sample_types"]]
    order = sorted(range(len(names)), key=names.__getitem__)
    groups = [{**group, "values": [group["values"][column] for column in order]} for group in timeline["groups"]]
    return {**timeline, "sample_types": [names[column] for column in order], "groups": groups}


def normalize_flame_graph(graph: dict[str, Any]) -> object:
    """Return the nodes of *graph* by path, its functions and its sample types, all without an order."""
    functions, nodes = graph["functions"], graph["nodes"]
    names = [*zip(functions["name"], functions["file"], functions["line"], strict=True), ("root",)]
    paths: list[tuple[object, ...]] = []
    for parent, function in zip(nodes["parent"], nodes["function"], strict=True):
        paths.append((*(paths[parent] if paths else ()), names[function]))
    values = sorted(zip(paths, *nodes["values"], strict=True), key=repr)
    costs = sorted(zip(names, *functions["flat"], *functions["cum"], strict=False), key=repr)
    return graph["sample_type"], sorted(map(str, graph["sample_types"])), graph["totals"], values, costs


def normalize_series(all_series: Iterable[Series]) -> object:
    """Return *all_series* without an order, nor of their sample types: a reindex reads blocks first.

    It may add the hours of profiles instead of their times.
    """
    return [
        series._replace(
            sample_types=tuple(sorted(series.sample_types, key=str)),
            first_seen=series.first_seen // HOUR * HOUR,
            last_seen=min(series.last_seen // HOUR * HOUR + HOUR - 1, LATEST),
        )
        for series in sorted(all_series, key=lambda series: series.id)
    ]


def list_questions(history: History, ids: Sequence[ProfileId]) -> Iterator[_Question]:
    """Yield every question about a storage with the profiles *ids*: a name and a function that asks it."""
    yield "services", lambda querier: querier.services()
    yield (
        "series",
        lambda querier: normalize_series(querier.series(SeriesSelection(SERVICE), lambda _: True)),
    )
    yield "labels", lambda querier: querier.label_values([SERVICE], None).to_json()
    yield "find any", lambda querier: querier.find(Query(SERVICE, None, 0, LATEST))
    for query in history.queries:
        yield f"find {query}", partial(lambda query, querier: querier.find(query), query)
        yield (
            f"merge {query}",
            partial(lambda query, querier: normalize_pprof(querier.merge(query).data), query),
        )
        if query.limit:
            continue
        yield (
            f"timeline {query}",
            partial(
                lambda query, querier: normalize_timeline(querier.timeline(query, ["v"], 7 * 86400 * 30)), query
            ),
        )
        if query.type == HEAP:
            yield (
                f"delta {query}",
                partial(lambda query, querier: normalize_pprof(querier.merge(query, DELTA).data), query),
            )
    full = history.queries[0]
    name = {CPU: "cpu", HEAP: "inuse_space", WALL: "wall"}[full.type or CPU]
    yield (
        f"sample type {full}",
        lambda querier: normalize_pprof(querier.merge(full, MergeOptions(name)).data),
    )
    yield (
        f"flame {full}",
        lambda querier: normalize_flame_graph(build_flame_graph(querier, [full], Limits(), MergeOptions(name))),
    )
    for profile_id in ids[:3]:
        yield (
            f"id {profile_id}",
            partial(lambda one, querier: normalize_pprof(querier.merge_ids([one]).data), profile_id),
        )
    alike = [profile_id for profile_id in ids if profile_id.type == ids[0].type] if ids else []
    if len(alike) > 1:
        yield "ids", lambda querier: normalize_pprof(querier.merge_ids(alike).data)


def describe_difference(actual: object, expected: object) -> str:
    """Return the innermost items in which two answers differ."""
    if isinstance(actual, dict) and isinstance(expected, dict) and actual.keys() == expected.keys():
        pairs = [(str(key), actual[key], expected[key]) for key in actual]
    elif isinstance(actual, list | tuple) and isinstance(expected, list | tuple) and len(actual) == len(expected):
        pairs = [(str(i), *pair) for i, pair in enumerate(zip(actual, expected, strict=True))]
    elif is_dataclass(actual) and is_dataclass(expected):
        return describe_difference(vars_of(actual), vars_of(expected))
    else:
        return f"{actual!r} instead of {expected!r}"
    return "; ".join(f"{key[:80]}: {describe_difference(*pair)}" for key, *pair in pairs if pair[0] != pair[1])


def vars_of(item: Any) -> dict[str, object]:
    """Return the fields of a dataclass by name."""
    return {field.name: getattr(item, field.name) for field in fields(item)}


def ask(question: Callable[[Querier], object], querier: Querier) -> object:
    """Return the answer to *question*, or the code of its error."""
    try:
        return question(querier)
    except ProfbucketError as error:
        return error.code


@contextmanager
def suited_to_small_histories() -> Iterator[None]:
    """Make ``Limits.entries`` hold for profiles of any size, start no threads, and let no profile be late."""
    with ExitStack() as patches:
        for module in (codec, split):
            patches.enter_context(mock.patch.object(module, "PRECHECK_BYTES", 0))
        for module in (repair, store):
            patches.enter_context(mock.patch.object(module, "ThreadPoolExecutor", SynchronousExecutor))
        patches.enter_context(mock.patch("profbucket.storage.store.time.time_ns", return_value=MIDNIGHT))
        yield


def check_history(history: History) -> Counter[str]:
    """Check that all answers stay the same; return how often each part of the history happened."""
    with suited_to_small_histories(), ExitStack() as patches:
        if history.are_blocks_large:
            patches.enter_context(mock.patch.object(block_content, "_RESERVE_DIVISOR", 2**60))
        return _check_history(history)


def _check_history(history: History) -> Counter[str]:
    limits, seen = history.limits, Counter[str]()
    never_changed = Storage(MemoryBucket(), MemoryIndex(), limits)
    storage = Storage(MemoryBucket(), MemoryIndex(), limits)
    ids: list[ProfileId] = []
    questions: list[_Question] = []
    answers: dict[str, object] = {}  # of the storage that is never changed, since the last post

    def compare(when: str, *, sample: bool = False) -> None:
        """Ask all questions, or a third of them, in turn."""
        seen["comparisons"] += 1
        before, after = Querier(never_changed, limits), Querier(storage, limits)
        for name, question in questions[seen["comparisons"] % 3 :: 3] if sample else questions:
            if name not in answers:
                answers[name] = ask(question, before)
            expected = answers[name]
            if isinstance(expected, str) and _LIMIT_CODE.fullmatch(expected):
                continue  # what was too much before compaction may be possible after it
            actual = ask(question, after)
            assert actual == expected, f"{when}: {name}: {describe_difference(actual, expected)}"

    def compact(clock: int) -> None:
        compactor = Compactor(storage, limits, clock=lambda: clock)
        for run in (compactor.run_due, compactor.run):
            for step in run():
                seen.update({step.action: 1, "together": step.with_next})
            assert not compactor.failed, "the compactor logged an error"

    posted: set[Post] = set()
    for posts, clock, is_index_lost in zip(history.rounds, history.clocks, history.rebuilds, strict=True):
        posted |= {replace(post, batch=0) for post in posts}
        metas = [post.apply(never_changed, limits) for post in posts]
        assert apply_round(posts, storage, limits) == metas
        for post, meta in zip(posts, metas, strict=True):
            if meta:
                ids.append(ProfileId.parse(meta.id))
            seen["accepted" if meta else "not accepted"] += 1
            seen["in batches"] += post.batch > 0
        answers.clear()
        questions = list(list_questions(history, list(dict.fromkeys(ids))))
        compact(clock)
        compare("after compaction", sample=True)
        if is_index_lost:
            storage = Storage(storage.bucket, MemoryIndex(), limits)
            deque(reindex(storage), 0)
            compare("after reindex", sample=True)
        apply_round([post for post in history.repeats if replace(post, batch=0) in posted], storage, limits)
        compare("after repeats", sample=True)
    compact(LATEST)
    compact(LATEST)
    compare("after all compactions", sample=True)
    blocks = storage.index.blocks(SERVICE, None, 0, LATEST)
    seen["blocks"] += len(blocks)
    expire_compacted(storage, seen)
    compare("after expiry")
    storage = Storage(storage.bucket, MemoryIndex(), limits)
    deque(reindex(storage), 0)
    assert {finding.state for finding in fsck(storage)} <= {State.OK, State.DUPLICATE}
    compare("after expiry and reindex")
    return seen


def expire_compacted(storage: Storage, seen: Counter[str]) -> None:
    """Delete all objects of profiles and batches that have no profile in the head."""
    seen["batches"] += sum(is_batch_key(obj.key) for obj in storage.bucket.list("", "~"))
    needed = set()
    for located in storage.lookup.locate(Query(SERVICE, None, 0, LATEST)):
        if not located.block:
            assert located.meta.created_at > LATEST - 2 * HOUR, "a profile cannot be compacted"
            seen["too young to be compacted"] += 1
            needed.add(range_of_profile(located.meta).key)
    for obj in list(list_prefix(storage.bucket, profile_prefix(SERVICE))):
        if obj.key not in needed:
            storage.bucket.delete(obj.key)


def run(examples: int, *, print_counts: bool = False, shrink: bool = True) -> None:
    """Check that many histories."""
    total = Counter[str]()

    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        report_multiple_bugs=False,
    )
    @given(draw_history())
    def check(history: History) -> None:
        total.update(check_history(history))
        total["histories"] += 1

    check()
    if print_counts:
        print(", ".join(f"{name} {count}" for name, count in sorted(total.items())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--no-shrink", action="store_true", help="report the first failure as it was found")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    run(arguments.examples, print_counts=True, shrink=not arguments.no_shrink)


if __name__ == "__main__":
    main()
