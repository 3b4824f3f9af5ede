"""Read what a service's profiles of one type measured on one day, from blocks and from the head."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from profbucket.errors import Damaged, Invalid, TooLarge
from profbucket.model.blocks import Block, Members
from profbucket.model.ids import ProfileId, ProfileName
from profbucket.model.labels import Labels
from profbucket.model.meta import Meta
from profbucket.model.profile_type import ProfileType
from profbucket.pprof.block.build import BlockBuilder
from profbucket.pprof.block.content import BlockContent
from profbucket.pprof.block.series_sums import sum_series
from profbucket.samples.table import SeriesSpan, Spans, write_table
from profbucket.storage.damage import DamageReport
from profbucket.storage.ports import Selection, SeriesSelection
from profbucket.storage.retry import retry_on_compaction
from profbucket.storage.sources import source_of_profiles
from profbucket.storage.store import Storage
from profbucket.times import DAY, DAY_SECONDS


@dataclass(slots=True)
class Day:
    """The profiles of one *service* and *type* that were created on the day that begins at *begin*.

    They are members of *blocks*, or the *head*. What is damaged was left out and is in *damage*.
    """

    service: str
    type: ProfileType
    begin: int
    blocks: list[tuple[Block, Members]]
    head: list[Meta]
    damage: DamageReport

    @property
    def end(self) -> int:
        """The last nanosecond of the day."""
        return self.begin + DAY - 1

    def rows_of(self, members: Members) -> range:
        """Return the rows of *members* that were created on this day."""
        times = members.created_at
        return range(bisect_left(times, self.begin), bisect_left(times, self.begin + DAY))

    def remove_head(self, ids: Iterable[str]) -> None:
        """Remove the profiles with these *ids* from the head."""
        removed = set(ids)
        self.head = [meta for meta in self.head if meta.id not in removed]

    def names(self) -> list[ProfileName]:
        """Return the names of all profiles, in order."""
        names = [ProfileId.parse(meta.id).name for meta in self.head]
        for _, members in self.blocks:
            rows = self.rows_of(members)
            names += members.names()[rows.start : rows.stop]
        return sorted(names)


def read_day(storage: Storage, service: str, profile_type: ProfileType, begin: int) -> Day:
    """Find the profiles of a day. Raise ``BlockReplaced`` if compaction replaces a block meanwhile."""
    selection = Selection(service, profile_type, begin, begin + DAY - 1)
    blocks, entries = storage.index.snapshot(selection)
    day = Day(service, profile_type, begin, [], list(entries), DamageReport())
    for block, members in zip(blocks, storage.lookup.read_current_members(blocks), strict=True):
        if isinstance(members, Damaged):
            day.damage.add(block.id, members, block.count)
        elif members is not None:
            day.blocks.append((block, members))
            day.remove_head(members.member_ids(day.head))
    return day


def list_lanes(
    storage: Storage, start: int, end: int, service: str | None = None, profile_type: ProfileType | None = None
) -> list[tuple[str, ProfileType]]:
    """Return the services and profile types that may have profiles from *start* to *end*, sorted."""
    series = storage.index.series(SeriesSelection(service, profile_type, start=start, end=end))
    return sorted({(own.service, own.type) for own in series if own.type.is_pprof})


def list_days(storage: Storage, service: str, profile_type: ProfileType, start: int, end: int) -> Iterator[int]:
    """Yield the beginnings of the days from *start* to *end* that may have profiles, in order."""
    blocks = storage.index.blocks(service, profile_type, start, end)
    begin = start // DAY * DAY
    while begin <= end:
        if not any(block.overlaps(begin, begin + DAY - 1) for block in blocks):
            selection = Selection(service, profile_type, begin, end, limit=1)
            following = [meta.created_at for meta in storage.index.find(selection)]
            # Again: those that were in the head may have been compacted into blocks meanwhile.
            blocks = storage.index.blocks(service, profile_type, begin, end)
            following += [max(block.first, begin) for block in blocks]
            if not following:
                return
            begin = min(following) // DAY * DAY
        yield begin
        begin += DAY


@retry_on_compaction
def write_day(storage: Storage, service: str, profile_type: ProfileType, begin: int, sink: IO[bytes]) -> int:
    """Write the table of the day that begins at *begin* to *sink*; return the number of rows."""
    return DaySums(storage, read_day(storage, service, profile_type, begin)).write(sink)


class DaySums:
    """The samples of each series of *day*. Profiles of the head are made into blocks first, in memory.

    Blocks and profiles that turn out to be damaged are removed from *day*, and added to its report; so are
    profiles that have expired, which are no damage.
    Every call raises ``BlockReplaced`` if compaction replaces a block meanwhile.
    """

    def __init__(self, storage: Storage, day: Day) -> None:
        self._storage = storage
        self._day = day
        self._limits = storage.limits
        self._current: Block | None = None
        self._built = list(self._build_head())

    def spans(self) -> Spans:
        """Return how many profiles each series has, and from when to when."""
        times: dict[tuple[str, Labels], list[int]] = {}
        for block, members in [*self._day.blocks, *((built, members) for built, members, _ in self._built)]:
            for row in self._day.rows_of(members):
                times.setdefault((block.measures, members.labels[members.series[row]]), []).append(
                    members.created_at[row]
                )
        return {key: SeriesSpan(len(own), min(own), max(own)) for key, own in times.items()}

    def write(self, sink: IO[bytes]) -> int:
        """Write the table to *sink*, from its beginning, and return the number of rows."""
        while True:
            sink.seek(0)
            sink.truncate()
            parts = sum_series(self._read_blocks(), self._day.begin, self._day.end, self._limits)
            try:
                return write_table(sink, self._day.service, parts, self.spans(), self._limits)
            except (Damaged, Invalid, TooLarge) as error:
                block = self._current
                if block is None:
                    raise
                self._day.damage.add(block.id, error, block.count)
                self._day.blocks = [pair for pair in self._day.blocks if pair[0] != block]
                self._built = [item for item in self._built if item[0] != block]

    def _read_blocks(self) -> Iterator[BlockContent]:
        """Yield the blocks, those with equal measures after each other."""
        built = {block: data for block, _, data in self._built}
        blocks = sorted([*built, *(block for block, _ in self._day.blocks)], key=_group_by_measures)
        sources = [
            source_of_profiles(block, (), block.first, block.last) for block in blocks if block not in built
        ]
        stored = self._storage.lookup.read_sources(sources)
        for self._current in blocks:
            block = self._current
            data = built[block] if block in built else next(stored)
            if not isinstance(data, bytes):
                raise data or Damaged(f"{block.id} has no object")
            yield BlockContent(block, data, self._limits)
        self._current = None

    def _build_head(self) -> Iterator[tuple[Block, Members, bytes]]:
        """Yield blocks of the head with their members and bytes."""
        remaining: Sequence[Meta] = self._day.head
        while remaining:
            builder, lost = BlockBuilder(self._limits), set[str]()
            for meta, data in zip(remaining, self._storage.lookup.read_profiles(remaining), strict=True):
                if isinstance(data, bytes):
                    builder.add(meta, data)
                else:
                    lost.add(meta.id)
                    if data is not None:  # else it has expired
                        self._day.damage.add(meta.id, data)
                if builder.is_full:
                    break
            built = builder.build()
            for meta, error in builder.invalid:
                self._day.damage.add(meta.id, error)
                lost.add(meta.id)
            self._day.remove_head(lost)
            done = lost
            if built:
                done |= {meta.id for meta in built.members.metas()}
                yield built.to_block(DAY_SECONDS, 0), built.members, built.data
            elif not lost:
                return
            remaining = [meta for meta in remaining if meta.id not in done]


def _group_by_measures(block: Block) -> tuple[str, tuple[int, str]]:
    return block.measures, block.position
