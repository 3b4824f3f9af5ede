"""Head and blocks as one view: each profile once, wherever it is stored.

Profiles in the head have index entries; a block lists its own members. An index returns both as of one moment. A
profile that was posted again after it was compacted has an entry and is in a block: such duplicates are found by
reading the member lists of the blocks that overlap the entries.

What is damaged is read again, in case it was damaged on the way, and then left out and reported.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from typing import TypeVar

from profbucket.errors import Damaged, Invalid, TooLarge, detach
from profbucket.limits import Limits
from profbucket.model.blocks import MERGED, METAS, Block, Members
from profbucket.model.ids import ProfileId, ProfileName
from profbucket.model.labels import Labels
from profbucket.model.meta import Meta, Query
from profbucket.model.profile_type import ProfileType
from profbucket.storage.damage import DamageReport
from profbucket.storage.joined_ranges import get_joined
from profbucket.storage.located_profiles import LocatedProfile, merge_in_order
from profbucket.storage.member_lists import MemberLists
from profbucket.storage.ports import Bucket, Index, ObjectRange, Selection, SeriesSelection, to_columns
from profbucket.storage.sources import (
    Source,
    check_source,
    order_by_time,
    source_of_block,
    source_of_object,
    source_of_profiles,
    source_of_rows,
)
from profbucket.storage.totals import Totals, select_totals

_T = TypeVar("_T")
_Matches = Callable[[Labels], bool]


class BlockReplaced(Exception):
    """Compaction replaced a block while it was being read; repeat the lookup."""


class Lookup:
    """The profiles in *bucket* that *index* finds.

    Every method that reads blocks raises ``BlockReplaced`` if compaction replaced one of them in the meantime.
    Profiles that cannot be found because a member list is damaged are added to a *damage* report, if one is given.
    """

    def __init__(self, bucket: Bucket, index: Index, limits: Limits = Limits()) -> None:
        self._bucket = bucket
        self._index = index
        self._limits = limits
        self._member_lists = MemberLists()

    def find(self, query: Query, damage: DamageReport | None = None) -> Iterator[Meta]:
        """Yield the profiles that match *query*, oldest first, ordered by :attr:`Meta.position`."""
        return (profile.meta for profile in self.locate(query, damage))

    def locate(self, query: Query, damage: DamageReport | None = None) -> Iterator[LocatedProfile]:
        """Yield the profiles that match *query*, with where they are stored, in the order of :meth:`find`."""
        blocks, entries = self._snapshot(query, query.limit)
        if query.after:
            created_after, _ = query.after
            blocks = [block for block in blocks if block.last >= created_after]
        members = self._matching_members(blocks, query, damage or DamageReport())
        profiles = merge_in_order(map(LocatedProfile, entries), blocks, members)
        yield from islice(profiles, query.limit)

    def list_contents(self, query: Query) -> Iterator[str]:
        """Yield the ids of the blocks and of the profiles in the head in the range of *query*, with any labels."""
        selection = Selection(query.service, query.type, query.start, query.end)
        blocks, entries = self._index.snapshot(selection)
        yield from (block.id for block in blocks)
        yield from (meta.id for meta in entries)

    def plan_merge(self, query: Query, max_profiles: int, damage: DamageReport | None = None) -> list[Source]:
        """Return the reads for a merge of all profiles that match *query*, ordered by time.

        If the head alone has more than *max_profiles* matches, the list is cut off above that length.
        """
        blocks, entries = self._snapshot(query, max_profiles + 1)
        head = list(entries)
        if len(head) > max_profiles:
            return [source_of_object(meta) for meta in head]
        head_times = [meta.created_at for meta in head]
        sources, blocks_to_open = [], []
        for block in blocks:
            position = bisect_left(head_times, block.first)
            overlaps_head = position < len(head_times) and head_times[position] <= block.last
            if overlaps_head or query.matchers or not query.start <= block.first <= block.last <= query.end:
                blocks_to_open.append(block)
            else:
                sources.append(source_of_block(block))
        compacted_ids: set[str] = set()
        matches = _label_filter(query)
        readable = self._readable_members(blocks_to_open, damage or DamageReport())
        for block, members in readable:
            compacted_ids.update(members.member_ids(head))
            if rows := _matching_rows(members, query, matches):
                sources.append(source_of_rows(block, members, rows))
        sources += [source_of_object(meta) for meta in head if meta.id not in compacted_ids]
        return order_by_time(sources)

    def plan_merge_of(self, profiles: Iterable[LocatedProfile]) -> list[Source]:
        """Return the reads for a merge of exactly these *profiles*, ordered by time."""
        in_blocks: dict[str, tuple[Block, list[LocatedProfile]]] = {}
        sources = []
        for profile in profiles:
            if profile.block is None:
                sources.append(source_of_object(profile.meta))
            else:
                in_blocks.setdefault(profile.block.id, (profile.block, []))[1].append(profile)
        for block, members in in_blocks.values():
            times = [member.meta.created_at for member in members]
            sources.append(source_of_profiles(block, [member.row for member in members], min(times), max(times)))
        return order_by_time(sources)

    def read_sources(self, sources: Sequence[Source]) -> Iterator[bytes | Damaged | None]:
        """Yield the bytes of each of *sources*, in order; ``None`` for one that has expired.

        Those of a block are complete but not checked further: its readers do that.
        """
        checks = [partial(check_source, source) for source in sources]
        for source, data in zip(
            sources, self._read([source.object_range for source in sources], checks), strict=True
        ):
            if data is None and source.block:
                self._require_expired(source.block)
            if isinstance(data, bytes) or not source.meta or not source.meta.part:
                yield data
                continue
            # Repair may have split the batch, or the profile was posted again, alone.
            [own] = self.read_profiles([replace(source.meta, part=None)])
            yield data if own is None else own

    def read_profiles(self, metas: Sequence[Meta]) -> Iterator[bytes | Damaged | None]:
        """Yield the bytes of each profile as posted, in order; ``None`` for one that has no object any more."""
        return self.read_sources([source_of_object(meta) for meta in metas])

    def read_totals(self, query: Query, damage: DamageReport | None = None) -> Iterator[Totals]:
        """Yield the totals of the profiles that match *query*: of each block, then of the head by profile type.

        No profile is opened.
        """
        blocks, head = self._snapshot_columns(query)
        compacted: dict[ProfileType, set[ProfileName]] = {}
        matches = _label_filter(query)
        for block, members in self._readable_members(blocks, damage or DamageReport()):
            for columns in head:
                if columns.type == block.type and block.overlaps(columns.created_at[0], columns.created_at[-1]):
                    compacted.setdefault(block.type, set()).update(members.names())
            if rows := _matching_rows(members, query, matches):
                yield select_totals(members, rows)
        for columns in head:
            names = compacted.get(columns.type, set())
            rows = [row for row, name in enumerate(columns.names()) if name not in names] if names else ()
            if rows or not names:
                yield select_totals(columns, rows or range(len(columns)))

    def find_in_block(self, profile_id: ProfileId) -> Source | None:
        """Return the read that gets a profile out of the block that holds it; ``None`` if no block does.

        Raise ``Damaged`` if the only blocks that may hold it are damaged.
        """
        created_at = profile_id.created_at
        blocks = self._index.blocks(profile_id.service, profile_id.type, created_at, created_at)
        damage = DamageReport()
        for block, members in self._readable_members(blocks, damage):
            names = members.names()
            row = bisect_left(names, profile_id.name)
            if row < len(names) and names[row] == profile_id.name:
                return source_of_profiles(block, [row], created_at, created_at)
        if damage.ids:
            raise damage.error()
        return None

    def find_member(self, profile_id: ProfileId) -> Meta | None:
        """Return the meta of a profile that was stored in a batch, in the head or compacted; else ``None``."""
        created_at = profile_id.created_at
        selection = Selection(profile_id.service, profile_id.type, created_at, created_at)
        blocks, entries = self._index.snapshot(selection)
        in_blocks = (
            members.meta(row)
            for members in self.read_members(blocks)
            if isinstance(members, Members) and members.parts
            for row in members.rows_at(created_at)
        )
        metas = (meta for meta in chain(entries, in_blocks) if meta.part and meta.id == str(profile_id))
        return next(metas, None)

    def has_block(self, block: Block) -> bool:
        """Return whether the index has *block*: compaction has not replaced it."""
        return block in self._index.blocks(block.service, block.type, block.first, block.last)

    def read_members(self, blocks: Sequence[Block]) -> Iterator[Members | Damaged | None]:
        """Yield the member list of each of *blocks*, in order; ``None`` if the object does not exist.

        A list that is damaged is the error that says so.
        """
        ranges = [ObjectRange(block.id, block.ends[MERGED], block.ends[METAS]) for block in blocks]
        return self._read(ranges, [partial(self._decode_members, block) for block in blocks])

    def read_current_members(self, blocks: Sequence[Block]) -> Iterator[Members | Damaged | None]:
        """Yield as :meth:`read_members` for *blocks* that are all in the index; ``None`` for an expired one."""
        for block, members in zip(blocks, self.read_members(blocks), strict=True):
            if members is None:
                self._require_expired(block)
            yield members

    def _readable_members(self, blocks: Sequence[Block], damage: DamageReport) -> Iterator[tuple[Block, Members]]:
        """Yield those of *blocks* that have not expired, with their member lists; report the damaged ones."""
        for block, members in zip(blocks, self.read_current_members(blocks), strict=True):
            if isinstance(members, Damaged):
                damage.add(block.id, members, block.count)
            elif members is not None:
                yield block, members

    def _decode_members(self, block: Block, data: bytes) -> Members:
        members = self._member_lists.get(block.id, data)
        if members is None:
            members = self._decode_new_members(block, data)
            self._member_lists.put(block.id, data, members)
        record = block.service, block.type, block.first, block.last, block.count, block.size
        times = members.created_at
        if record != (members.service, members.type, times[0], times[-1], len(members), sum(members.size)):
            raise Damaged(f"the member list of {block.id} is that of another block")
        return members

    def _decode_new_members(self, block: Block, data: bytes) -> Members:
        from profbucket.pprof.block.container import decode_members  # imports protobuf

        try:
            return decode_members(data, self._limits.of_blocks())
        except (Invalid, TooLarge) as error:
            raise Damaged(f"the member list of {block.id}: {error}") from None

    def _read(
        self, ranges: Sequence[ObjectRange], parsers: Sequence[Callable[[bytes], _T]]
    ) -> Iterator[_T | Damaged | None]:
        """Yield the parsed bytes of each range, in order; ``None`` if the object does not exist.

        A parser raises ``Damaged``: then the range is read again, and if that does not help, the error is yielded.
        """
        for object_range, parse, data in zip(ranges, parsers, get_joined(self._bucket, ranges), strict=True):
            parsed = _parse(parse, data)
            if isinstance(parsed, Damaged):
                [data_again] = self._bucket.get_many([object_range])
                parsed = _parse(parse, data_again)
            yield parsed

    def _require_expired(self, block: Block) -> None:
        """Raise ``BlockReplaced`` for a block without object, unless the index still has the block."""
        if not self.has_block(block):
            raise BlockReplaced(block.id)

    def _snapshot(self, query: Query, limit: int | None) -> tuple[list[Block], Iterator[Meta]]:
        if query.services:
            raise ValueError("a lookup is about one service; see Query.each_service")
        selection, are_series_lost = self._select(query)
        if not are_series_lost:
            return self._index.snapshot(replace(selection, after=query.after, limit=limit))
        blocks, entries = self._index.snapshot(replace(selection, after=query.after))
        matches = _label_filter(query)
        return blocks, islice((meta for meta in entries if matches(meta.labels)), limit)

    def _snapshot_columns(self, query: Query) -> tuple[list[Block], list[Members]]:
        selection, are_series_lost = self._select(query)
        if not are_series_lost:
            return self._index.snapshot_columns(selection)
        blocks, entries = self._index.snapshot(selection)
        matches = _label_filter(query)
        return blocks, to_columns(meta for meta in entries if matches(meta.labels))

    def _select(self, query: Query) -> tuple[Selection, bool]:
        """Return the selection of all entries that match *query*.

        If there are labels, but no series of the service, the series may have been lost: then it selects entries
        with any labels, and the second value is true.
        """
        selection = Selection(query.service, query.type, query.start, query.end)
        if not query.matchers:
            return selection, False
        matches = _label_filter(query)
        equal = {matcher.key: matcher.value for matcher in query.matchers if matcher.operator == "="}
        labels = Labels(tuple(sorted((key, value) for key, value in equal.items() if value)))
        wanted = SeriesSelection(query.service, query.type, labels, query.start, query.end)
        series_ids = {series.id for series in self._index.series(wanted) if matches(series.labels)}
        if series_ids or self._index.series(SeriesSelection(query.service, limit=1)):
            return replace(selection, series=series_ids), False
        return selection, True

    def _matching_members(
        self, blocks: Sequence[Block], query: Query, damage: DamageReport
    ) -> Iterator[Iterator[LocatedProfile]]:
        """Yield for each of *blocks* its members that match *query*, in order."""
        matches = _label_filter(query)
        for block, members in zip(blocks, self.read_current_members(blocks), strict=True):
            if isinstance(members, Damaged):
                damage.add(block.id, members, block.count)
                members = None  # noqa: PLW2901 - has none that can be listed
            yield iter(()) if members is None else _locate_members(block, members, query, matches)


def _locate_members(block: Block, members: Members, query: Query, matches: _Matches) -> Iterator[LocatedProfile]:
    for row in _matching_rows(members, query, matches):
        meta = members.meta(row)
        if query.after is None or meta.position > query.after:
            yield LocatedProfile(meta, block, row, members)


def _matching_rows(members: Members, query: Query, matches: _Matches) -> Sequence[int]:
    """Return the rows in the range of *query* whose labels match; ``query.after`` is ignored."""
    times = members.created_at
    rows = range(bisect_left(times, query.start), bisect_left(times, query.end + 1))
    if not query.matchers:
        return rows
    series_matches = [matches(labels) for labels in members.labels]
    return rows if all(series_matches) else [row for row in rows if series_matches[members.series[row]]]


def _label_filter(query: Query) -> _Matches:
    return lambda labels: all(matcher.matches(labels) for matcher in query.matchers)


def _parse(parse: Callable[[bytes], _T], data: bytes | None) -> _T | Damaged | None:
    """Return what *parse* returns for *data* or raises; ``None`` for ``None``."""
    try:
        return None if data is None else parse(data)
    except Damaged as error:
        return detach(error)
