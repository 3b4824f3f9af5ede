"""Decide from the bucket alone which blocks are live.

Blocks in a bucket may share members: blocks that were merged are kept for a while, and a compaction that was cut
off leaves a block that was never committed. A profile must not count twice, so of blocks that share members the
committed ones are live, then those with more members. A block that is not in the index, and has all members of
committed ones and others that are in no block and not in the head, is live in their place: the index was lost, and
some of its profiles were posted and compacted again.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from itertools import takewhile

from profbucket.errors import Damaged, Invalid, NotFound
from profbucket.maintenance.copies import list_copies
from profbucket.model.blocks import Block, Members, from_metadata
from profbucket.model.ids import ProfileId, ProfileName, block_prefix, parse_block_key
from profbucket.model.meta import series_id
from profbucket.model.profile_type import ProfileType
from profbucket.storage.damage import check_size
from profbucket.storage.listing import list_prefix, with_metadata
from profbucket.storage.ports import MAX_BLOCK_NANOS, Object, Selection, Series
from profbucket.storage.store import Storage


def list_blocks(
    storage: Storage, service: str, profile_type: ProfileType, since: int
) -> Iterator[tuple[Object, Block | Damaged | None]]:
    """Yield the objects under the block prefix, each with its block, or ``None`` if it is not a block.

    A block whose size or metadata are damaged is the error that says so. Blocks before *since* are left out.
    """
    prefix = block_prefix(service, profile_type)
    for obj in list_prefix(storage.bucket, prefix, max(since - MAX_BLOCK_NANOS, 0)):
        try:
            block = _read_record(with_metadata(storage.bucket, obj))
        except NotFound:
            continue  # deleted in the meantime
        except Damaged as error:
            yield obj, error
            continue
        if block is None or block.last >= since:
            yield obj, block


def _read_record(obj: Object) -> Block | None:
    """Return the block in an object, or ``None`` if it has another key; raise ``Damaged``."""
    try:
        parse_block_key(obj.key)
    except Invalid:
        return None
    try:
        block = from_metadata(obj.key, obj.metadata or {})
    except Invalid as error:
        raise Damaged(str(error)) from None
    check_size(obj)
    if obj.size != block.ends[-1]:
        raise Damaged(f"{obj.key} has {obj.size} bytes instead of {block.ends[-1]}")
    return block


def select_live(storage: Storage, blocks: Sequence[Block], committed: Sequence[Block]) -> list[Block]:
    """Return the live ones of *blocks*, all of one service and profile type, ordered by position.

    *committed* are the blocks in the index.
    """
    live: list[Block] = []
    committed_ids = {block.id for block in committed}
    candidates = [block for block in blocks if block.id in committed_ids or not _is_uncommitted(storage, block)]
    for group in _group_overlapping(candidates):
        if len(group) == 1:
            live += group
            continue
        group.sort(key=lambda block: (block.id not in committed_ids, -block.count, block.written_at, block.id))
        chosen: dict[Block, set[ProfileName]] = {}
        lists = list(storage.lookup.read_members(group))
        if any(
            isinstance(members, Damaged) and block.id in committed_ids
            for block, members in zip(group, lists, strict=True)
        ):
            # Its merged part may be readable, and counts. Any of the others may share its members.
            live += [block for block in group if block.id in committed_ids]
            continue
        for block, members in zip(group, lists, strict=True):
            names = set(members.names()) if isinstance(members, Members) else set()
            sharing = [other for other, taken in chosen.items() if not taken.isdisjoint(names)]
            if not names or any(not chosen[other] < names for other in sharing):
                continue
            if sharing and _is_in_head(storage, block, names.difference(*(chosen[other] for other in sharing))):
                continue
            chosen = {other: taken for other, taken in chosen.items() if other not in sharing} | {block: names}
        live += chosen
    return sorted(live, key=lambda block: block.position)


def _is_uncommitted(storage: Storage, block: Block) -> bool:
    """Return whether *block*, not in the index, was never committed: all its members are in the head."""
    [members] = storage.lookup.read_members([block])
    return isinstance(members, Members) and _is_in_head(storage, block, set(members.names()))


def _is_in_head(storage: Storage, block: Block, names: Set[ProfileName]) -> bool:
    """Return whether all of *names*, members of *block*, are in the head: each has an entry and an object.

    An entry whose object has expired is about to be removed, so the profile must count in the block.
    """
    entries = storage.index.find(Selection(block.service, block.type, block.first, block.last))
    if not names <= {ProfileId.parse(meta.id).name for meta in entries}:
        return False
    own_keys = {ProfileId(block.service, block.type, *name).object_key for name in names}
    last_key = max(own_keys, default="")
    copies = list_copies(storage.bucket, block.service, block.type, block.first)
    return own_keys.issubset(key for key, _ in takewhile(lambda copy: copy[0] <= last_key, copies))


def _group_overlapping(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Yield groups of *blocks* so that blocks of different groups do not overlap in time."""
    group: list[Block] = []
    last = -1
    for block in sorted(blocks, key=lambda block: block.position):
        if group and block.first > last:
            yield group
            group = []
        group.append(block)
        last = max(last, block.last)
    if group:
        yield group


class BlockMembership:
    """The ids of the members of *blocks*, all of one service and profile type, ordered by position.

    ``damaged`` are the blocks whose member lists are damaged, with the error, and ``without_series`` those with a
    member whose series is not in *series* or lacks its sample types, as far as lists have been read.
    """

    def __init__(
        self,
        storage: Storage,
        blocks: Sequence[Block],
        committed_ids: Collection[str] = (),
        series: Mapping[str, Series] = {},
    ) -> None:
        self.damaged: list[tuple[Block, Damaged]] = []
        self.without_series: list[Block] = []
        self._committed_ids = committed_ids
        self._series = series
        self._upcoming = iter(zip(blocks, storage.lookup.read_members(blocks), strict=True))
        self._upcoming_firsts = [block.first for block in blocks][::-1]
        self._open: list[tuple[int, set[ProfileName] | None]] = []  # last member's time, names

    def contains(self, profile_id: ProfileId) -> bool | None:
        """Return whether a profile is a member; ``None`` if the list that would tell is damaged.

        Must be called in the order of time: only the member lists of the blocks at that time are in memory.
        """
        created_at = profile_id.created_at
        while self._upcoming_firsts and self._upcoming_firsts[-1] <= created_at:
            self._open_next()
        self._open = [(last, names) for last, names in self._open if last >= created_at]
        if any(names is not None and profile_id.name in names for _, names in self._open):
            return True
        return None if any(names is None for _, names in self._open) else False

    def read_rest(self) -> None:
        """Read all lists that have not been needed."""
        while self._upcoming_firsts:
            self._open_next()
            self._open.clear()

    def _open_next(self) -> None:
        self._upcoming_firsts.pop()
        block, members = next(self._upcoming)
        names: set[ProfileName] | None = set()
        if isinstance(members, Damaged):
            self.damaged.append((block, members))
            if block.id in self._committed_ids:  # its merged part counts, so its members must not count as well
                names = None
        elif members is not None:
            names = set(members.names())
            if not self._has_series(members):
                self.without_series.append(block)
        self._open.append((block.last, names))

    def _has_series(self, members: Members) -> bool:
        ids = (series_id(members.service, members.type, labels) for labels in members.labels)
        all_series = [self._series.get(id_) for id_ in ids]
        return all(
            (series := all_series[number]) is not None and series.may_have_sample_types(members.types[measured])
            for number, measured in set(zip(members.series, members.measured, strict=True))
        )
