"""Find the objects of blocks that no reader can need any more."""

from collections.abc import Iterator, Sequence, Set

from profbucket.errors import Damaged, Invalid, NotFound
from profbucket.model import blocks
from profbucket.model.blocks import Block, Members
from profbucket.model.ids import ProfileName, block_prefix
from profbucket.model.profile_type import ProfileType
from profbucket.storage.listing import list_prefix, with_metadata
from profbucket.storage.ports import MAX_BLOCK_NANOS, Object
from profbucket.storage.store import Storage
from profbucket.times import LATEST


def find_unneeded(  # noqa: PLR0917
    storage: Storage, service: str, profile_type: ProfileType, start: int, end: int, latest: int
) -> Iterator[str]:
    """Yield the keys of blocks that begin from *start* to *end* and have been replaced before *latest*."""
    indexed = None
    names_by_id: dict[str, set[ProfileName]] = {}
    for obj in list_prefix(storage.bucket, block_prefix(service, profile_type), start, end):
        if indexed is None:
            indexed = storage.index.blocks(service, profile_type, start, min(end + MAX_BLOCK_NANOS, LATEST))
        if not any(block.id == obj.key for block in indexed) and _is_unneeded(
            storage, obj, indexed, latest, names_by_id
        ):
            yield obj.key


def _is_unneeded(
    storage: Storage, obj: Object, indexed: Sequence[Block], latest: int, names_by_id: dict[str, set[ProfileName]]
) -> bool:
    """Return whether a block that is not in the index has been replaced before *latest*.

    Its replacement has the same members and so overlaps it: all overlapping blocks must be older than that.
    *names_by_id* caches the members of blocks.
    """
    try:
        block = blocks.from_metadata(obj.key, with_metadata(storage.bucket, obj).metadata or {})
    except (NotFound, Invalid, Damaged):
        return False
    overlapping = [other for other in indexed if other.overlaps(block.first, block.last)]
    if block.written_at >= latest or any(other.written_at >= latest for other in overlapping):
        return False
    unread = [other for other in (block, *overlapping) if other.id not in names_by_id]
    for other, members in zip(unread, storage.lookup.read_members(unread), strict=True):
        names_by_id[other.id] = set(members.names()) if isinstance(members, Members) else set()
    return _is_replaced(names_by_id.pop(block.id), [names_by_id[other.id] for other in overlapping])


def _is_replaced(names: Set[ProfileName], others: Sequence[Set[ProfileName]]) -> bool:
    """Return whether a block with the members *names* is no longer needed: *others* are those in the index.

    They must have all its members. A block that is not in the index, whose members are in no other, may be about
    to be committed by a run whose clock is behind, or be the last copy, because the index was lost. One that has
    exactly the members of several blocks may be about to replace them.
    """
    sharing = [other for other in others if not other.isdisjoint(names)]
    union = set[ProfileName]().union(*sharing)
    return bool(names) and names <= union and (len(sharing) == 1 or names != union)
