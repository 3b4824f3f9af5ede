"""Head and blocks read as one: each profile once, whichever of them holds it, at every moment.

Profiles of the head have entries of their own, those of blocks stand in the blocks' lists. An index shows both as
they were at one moment. A profile that was posted again after it went into a block has an entry, too; it is told
by its place in the list, which is read wherever an entry lies within the time of a block.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from itertools import islice
from typing import NamedTuple

from profbucket.limits import Limits
from profbucket.model.blocks import MERGED, METAS, PROFILES, SERIES, Block, Members
from profbucket.model.ids import ProfileId
from profbucket.model.labels import Labels
from profbucket.model.meta import Meta, Query
from profbucket.storage.ports import Bucket, Index, ObjectRange, Selection


class BlockReplaced(Exception):
    """A block is not one any more: its members are elsewhere, and what was asked for is to be looked up anew."""


class Location(NamedTuple):
    """A profile, and where it is: in the head, or in this row of a block."""

    meta: Meta
    block: Block | None = None
    row: int = 0


class Point(NamedTuple):
    """When a profile was taken, of which series, and how much it measured: a value for each name and unit."""

    created_at: int
    labels: Labels
    names: Sequence[tuple[str, str]]
    values: Sequence[int]


@dataclass(frozen=True, slots=True)
class Source:
    """What a merge reads of one object, and the profiles that it gets: ``count``, from ``first`` to ``last``.

    A profile by itself has no ``block``. Of a block all members are meant, or ``rows`` of its part ``rows_of``.
    """

    part: ObjectRange
    first: int
    last: int
    count: int
    size: int
    block: Block | None = None
    rows_of: int = MERGED
    rows: Sequence[int] = ()


class Lookup:
    """The profiles that *bucket* holds and *index* finds."""

    def __init__(self, bucket: Bucket, index: Index, limits: Limits = Limits()) -> None:
        self._bucket = bucket
        self._index = index
        self._limits = limits

    def find(self, query: Query) -> Iterator[Location]:
        """Yield what *query* asks for, oldest first, ordered by :attr:`Meta.position`.

        Raise ``BlockReplaced`` if compaction replaced a block meanwhile, like everything that reads members.
        """
        blocks, entries = self._snapshot(query, query.limit)
        if query.after:
            after = query.after
            blocks = [block for block in blocks if block.last >= after[0]]
        found = _in_order(map(Location, entries), blocks, self._rows(blocks, query))
        yield from islice(found, query.limit)

    def sources(self, query: Query, cap: int) -> list[Source]:
        """What a merge of all that *query* asks for reads, in the order of time: more than *cap* if that many."""
        blocks, entries = self._snapshot(query, cap + 1)
        head = list(entries)
        if len(head) > cap:
            return [_of_meta(meta) for meta in head]
        times = [meta.created_at for meta in head]
        sources, opened = [], []
        for block in blocks:
            at = bisect_left(times, block.first)
            late = at < len(times) and times[at] <= block.last
            if late or query.matchers or not query.start <= block.first <= block.last <= query.end:
                opened.append(block)
            else:
                sources.append(_of_block(block))
        held: set[str] = set()
        matches = _matches(query)
        for block, members in zip(opened, self.live_lists(opened), strict=True):
            if members is None:
                continue
            held.update(members.member_ids(head))
            rows = _selected(members, query, matches)
            if rows:
                sources.append(_of_rows(block, members, rows))
        sources += [_of_meta(meta) for meta in head if meta.id not in held]
        return sorted(sources, key=lambda source: (source.first, source.part.key))

    def sources_of(self, found: Iterable[Location]) -> list[Source]:
        """What a merge of just these profiles reads, in the order of time."""
        rows: dict[str, tuple[Block, list[Location]]] = {}
        sources = []
        for one in found:
            if one.block is None:
                sources.append(_of_meta(one.meta))
            else:
                rows.setdefault(one.block.id, (one.block, []))[1].append(one)
        for block, some in rows.values():
            times = [one.meta.created_at for one in some]
            sources.append(_of_profiles(block, [one.row for one in some], min(times), max(times)))
        return sorted(sources, key=lambda source: (source.first, source.part.key))

    def points(self, query: Query) -> Iterator[Point]:
        """Yield when and how much the profiles measured that *query* asks for, in no order."""
        blocks, entries = self._snapshot(query, None)
        head = list(entries)
        held: set[str] = set()
        matches = _matches(query)
        for members in self.live_lists(blocks):
            if members is None:
                continue
            held.update(members.member_ids(head))
            for row in _selected(members, query, matches):
                names = members.types[members.measured[row]]
                labels = members.labels[members.series[row]]
                yield Point(members.created_at[row], labels, names, members.totals[row])
        for meta in head:
            if meta.id not in held:
                names = [(total.type, total.unit) for total in meta.totals]
                yield Point(meta.created_at, meta.labels, names, [total.value for total in meta.totals])

    def holder(self, profile_id: ProfileId) -> Source | None:
        """What to read of the block that holds a profile, if one does."""
        at = profile_id.created_at
        blocks = self._index.blocks(profile_id.service, profile_id.type, at, at)
        for block, members in zip(blocks, self.live_lists(blocks), strict=True):
            if members is not None:
                row = bisect_left(names := members.names(), profile_id.name)
                if row < len(names) and names[row] == profile_id.name:
                    return _of_profiles(block, [row], at, at)
        return None

    def read(self, sources: Sequence[Source]) -> Iterator[bytes | None]:
        """Yield the bytes of each of *sources*, in order, and ``None`` for one that has expired.

        Raise ``BlockReplaced`` where its block has become part of another.
        """
        for source, data in zip(sources, self._bucket.get_many([one.part for one in sources]), strict=True):
            if data is None and source.block:
                self._check_expired(source.block)
            yield data

    def has(self, block: Block) -> bool:
        """Whether *block* is still one, and has not become part of another."""
        return block in self._index.blocks(block.service, block.type, block.first, block.last)

    def _snapshot(self, query: Query, limit: int | None) -> tuple[list[Block], Iterator[Meta]]:
        series = None
        if query.matchers:
            matches = _matches(query)
            candidates = self._index.series(query.service, query.type)
            series = {one.id for one in candidates if matches(one.labels)}
        return self._index.snapshot(
            Selection(query.service, query.type, query.start, query.end, series, query.after, limit)
        )

    def lists(self, blocks: Sequence[Block]) -> Iterator[Members | None]:
        """The list of each of *blocks*, and ``None`` for one whose object is gone."""
        from profbucket.pprof.block.container import decode_members  # what lists no blocks needs no protobuf

        wanted = [ObjectRange(block.id, block.ends[MERGED], block.ends[METAS]) for block in blocks]
        for data in self._bucket.get_many(wanted):
            yield None if data is None else decode_members(data, self._limits)

    def live_lists(self, blocks: Sequence[Block]) -> Iterator[Members | None]:
        """The same of blocks that the index has: ``None`` for one that has expired. Raise ``BlockReplaced``."""
        for block, members in zip(blocks, self.lists(blocks), strict=True):
            if members is None:
                self._check_expired(block)
            yield members

    def _check_expired(self, block: Block) -> None:
        """Raise ``BlockReplaced`` for a block whose object is gone, unless that has expired."""
        if not self.has(block):
            raise BlockReplaced(block.id)

    def _rows(self, blocks: Sequence[Block], query: Query) -> Iterator[Iterator[Location]]:
        """The members of each of *blocks* that *query* asks for."""
        matches = _matches(query)
        for block, members in zip(blocks, self.live_lists(blocks), strict=True):
            yield iter(()) if members is None else _found(block, members, query, matches)


def _in_order(
    head: Iterator[Location], blocks: Sequence[Block], rows: Iterator[Iterator[Location]]
) -> Iterator[Location]:
    """Merge *head* with the rows of blocks, which are opened when their time has come; each profile once."""
    upcoming = deque(enumerate(blocks, 1))
    heap: list[tuple[tuple[int, str], int, Location, Iterator[Location]]] = []

    def enter(number: int, stream: Iterator[Location]) -> None:
        if (first := next(stream, None)) is not None:
            heap.append((first.meta.position, number, first, stream))
            heapify(heap)

    enter(0, head)
    last = None
    while heap or upcoming:
        while upcoming and (not heap or upcoming[0][1].first <= heap[0][0][0]):
            number, _ = upcoming.popleft()
            enter(number, next(rows))
        if not heap:
            continue
        position, number, found, stream = heap[0]
        if position != last:
            yield found
        last = position
        if (following := next(stream, None)) is None:
            heappop(heap)
        else:
            heapreplace(heap, (following.meta.position, number, following, stream))


def _found(block: Block, members: Members, query: Query, matches: Callable[[Labels], bool]) -> Iterator[Location]:
    for row in _selected(members, query, matches):
        meta = members.meta(row)
        if query.after is None or meta.position > query.after:
            yield Location(meta, block, row)


def _selected(members: Members, query: Query, matches: Callable[[Labels], bool]) -> Sequence[int]:
    """The rows that *query* asks for, wherever its page begins."""
    wanted = [matches(labels) for labels in members.labels]
    times = members.created_at
    rows = range(bisect_left(times, query.start), bisect_left(times, query.end + 1))
    return rows if all(wanted) else [row for row in rows if wanted[members.series[row]]]


def _matches(query: Query) -> Callable[[Labels], bool]:
    return lambda labels: all(matcher.matches(labels) for matcher in query.matchers)


def _of_meta(meta: Meta) -> Source:
    return Source(ObjectRange(ProfileId.parse(meta.id).object_key), meta.created_at, meta.created_at, 1, meta.size)


def _of_block(block: Block) -> Source:
    part = ObjectRange(block.id, 0, block.ends[MERGED])
    return Source(part, block.first, block.last, block.count, block.ends[MERGED], block)


def _of_rows(block: Block, members: Members, rows: Sequence[int]) -> Source:
    """The cheapest way to get *rows* of a block."""
    first, last = members.created_at[rows[0]], members.created_at[rows[-1]]
    if len(rows) == len(members):
        return _of_block(block)
    series = {members.series[row] for row in rows}
    if sum(one in series for one in members.series) > len(rows):
        return _of_profiles(block, rows, first, last)
    end = block.ends[SERIES]
    return Source(ObjectRange(block.id, 0, end), first, last, len(rows), end, block, SERIES, sorted(series))


def _of_profiles(block: Block, rows: Sequence[int], first: int, last: int) -> Source:
    end = block.ends[-1]
    return Source(ObjectRange(block.id, 0, end), first, last, len(rows), end, block, PROFILES, rows)
