"""The reads of a merge, each of one object or of a part of a block."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from profbucket.errors import Damaged
from profbucket.model.blocks import MERGED, PROFILES, SERIES, Block, Members
from profbucket.model.ids import ProfileId, batch_key
from profbucket.model.meta import Meta
from profbucket.storage.damage import check_profile
from profbucket.storage.ports import ObjectRange


@dataclass(frozen=True, slots=True)
class Source:
    """One read of a merge: a profile's object, or a part of a block.

    It holds ``count`` profiles, created from ``first`` to ``last``; ``size`` is the bytes to read. A
    profile's object has a ``meta``. A ``block`` contributes all its members, or these ``rows`` of ``part``.
    """

    object_range: ObjectRange
    first: int
    last: int
    count: int
    size: int
    meta: Meta | None = None
    block: Block | None = None
    part: int = MERGED
    rows: Sequence[int] = ()

    @property
    def id(self) -> str:
        """The id of the profile or block."""
        return self.meta.id if self.meta else self.object_range.key

    @property
    def service(self) -> str:
        """The service of the profile or block."""
        return ProfileId.parse(self.id).service if self.block is None else self.block.service


def order_by_time(sources: Iterable[Source]) -> list[Source]:
    """Return *sources* in the order in which they are merged."""
    return sorted(sources, key=lambda source: (source.first, source.id))


def range_of_profile(meta: Meta) -> ObjectRange:
    """Return the range of a profile's bytes as posted: its own object, or its part of a batch."""
    if meta.part is None:
        return ObjectRange(ProfileId.parse(meta.id).object_key)
    name, begin = meta.part
    return ObjectRange(batch_key(meta.service, name), begin, begin + meta.size)


def source_of_object(meta: Meta) -> Source:
    """Return the read of a profile as it was posted."""
    object_range = range_of_profile(meta)
    return Source(object_range, meta.created_at, meta.created_at, 1, meta.size, meta)


def source_of_block(block: Block) -> Source:
    """Return the read of the merge of all members of a block."""
    end = block.ends[MERGED]
    return Source(ObjectRange(block.id, 0, end), block.first, block.last, block.count, end, block=block)


def source_of_rows(block: Block, members: Members, rows: Sequence[int]) -> Source:
    """Return the cheapest source of *rows* of a block."""
    first, last = members.created_at[rows[0]], members.created_at[rows[-1]]
    if len(rows) == len(members):
        return source_of_block(block)
    selected_series = {members.series[row] for row in rows}
    if sum(series in selected_series for series in members.series) > len(rows):
        return source_of_profiles(block, rows, first, last)
    end = block.ends[SERIES]
    object_range = ObjectRange(block.id, 0, end)
    return Source(
        object_range, first, last, len(rows), end, block=block, part=SERIES, rows=sorted(selected_series)
    )


def source_of_profiles(block: Block, rows: Sequence[int], first: int, last: int) -> Source:
    """Return the read of *rows* of a block, one profile each, created from *first* to *last*."""
    end = block.ends[-1]
    return Source(
        ObjectRange(block.id, 0, end), first, last, len(rows), end, block=block, part=PROFILES, rows=rows
    )


def check_source(source: Source, data: bytes) -> bytes:
    """Return *data*, the bytes of *source*, or raise ``Damaged`` if they are not those that were written."""
    if source.meta:
        check_profile(source.meta, data)
    elif len(data) != source.size:
        raise Damaged(f"{source.id} is cut short: {len(data)} bytes instead of {source.size}")
    return data
