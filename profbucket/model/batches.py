"""Batches: one object holds several profiles of one service, of any types, each with the bytes that were posted.

    profiles    the bytes of the first, of the second, and so on, by type and position
    table       the list of members, for each profile type that of a block, compressed
    checks      a part of the table's SHA-256, the length of the table, and a magic number

So each profile is found by its range, and the index can be rebuilt from the object alone. The checks come
last: the end of an object holds its table, and one that is cut short has none. A damaged member affects no
other, because each is checked by its own digest.
"""

import json
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from heapq import heappop, heappush
from itertools import count, groupby

from profbucket.errors import Damaged, Invalid
from profbucket.model.blocks import Members
from profbucket.model.ids import batch_name, parse_batch_key
from profbucket.model.meta import BatchPart, Meta
from profbucket.times import SECOND

MAX_NANOS = 120 * SECOND  # from the first to the last member: look-ups by time start this much earlier
MAX_MEMBERS = 500
MAX_BYTES = 16 << 20  # of the profiles, unless there is one only
MAX_TEXT_BYTES = 1 << 20  # of their labels and sample types: in a table, each byte takes up to seven

_CHECKS = struct.Struct(">16sI8s")
_MAGIC = b"pbbatch1"
_MAX_TABLE_BYTES = 8 << 20  # inflated; decoding takes thirty times as much
_TOTAL_BYTES = 8  # that a total counts, in addition to its names: a seventh of what it takes


class IncompleteTable(Exception):
    """The end of a batch that was read is shorter than its table; read ``size`` bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


def split_into_batches(profiles: Sequence[tuple[Meta, bytes]]) -> Iterator[Sequence[tuple[Meta, bytes]]]:
    """Yield *profiles*, all of one service, as the batches that hold them, each profile once and in order.

    A profile that shares a batch with no other comes alone. So does a trace: it is never compacted, as all other
    members of a batch are.
    """
    pending: list[tuple[Meta, bytes]] = []
    size = text_size = 0
    for _, (profile, *_) in groupby(sorted(profiles, key=lambda item: item[0].position), lambda item: item[0].id):
        meta = profile[0]
        if not meta.type.is_pprof:
            yield [profile]
            continue
        own_text_size = _count_text_bytes(meta)
        if pending and (
            meta.created_at - pending[0][0].created_at > MAX_NANOS
            or len(pending) == MAX_MEMBERS
            or size + meta.size > MAX_BYTES
            or text_size + own_text_size > MAX_TEXT_BYTES
        ):
            yield pending
            pending, size, text_size = [], 0, 0
        pending.append(profile)
        size += meta.size
        text_size += own_text_size
    if pending:
        yield pending


def _count_text_bytes(meta: Meta) -> int:
    names = (name for total in meta.totals for name in (total.type, total.unit))
    return len(meta.labels.format()) + sum(len(name.encode()) for name in names) + _TOTAL_BYTES * len(meta.totals)


def encode_batch(profiles: Sequence[tuple[Meta, bytes]]) -> tuple[Sequence[Meta], bytes]:
    """Return the metas of *profiles*, which :func:`split_into_batches` returned, as members, and their batch."""
    name = batch_name([meta.id for meta, _ in profiles], profiles[0][0].created_at)
    # Those of a type adjoin each other: one read gets them all.
    profiles = sorted(profiles, key=lambda item: (item[0].type, item[0].position))
    members, begin = [], 0
    for meta, _ in profiles:
        members.append(replace(meta, part=BatchPart(name, begin)))
        begin += meta.size
    table = dump_members(members)
    checks = _CHECKS.pack(sha256(table).digest()[:16], len(table), _MAGIC)
    return members, b"".join((*(data for _, data in profiles), table, checks))


def decode_table(object_key: str, end: bytes) -> list[Meta]:
    """Return the members of the batch under *object_key*, whose last bytes are *end*, ordered by position.

    Raises:
        IncompleteTable: *end* is too short.
        Damaged: The table is damaged.
    """
    service, name = parse_batch_key(object_key)
    try:
        digest, size, magic = _CHECKS.unpack_from(end, len(end) - _CHECKS.size)
        if magic != _MAGIC:
            raise ValueError("it has no end")
        if size + _CHECKS.size > len(end):
            raise IncompleteTable(size + _CHECKS.size)
        table = end[-size - _CHECKS.size : -_CHECKS.size]
        if sha256(table).digest()[:16] != digest:
            raise ValueError("its checksum is wrong")
        members = load_members(table)
        _check_members(members, service, name)
    except (ValueError, struct.error, zlib.error, Invalid) as error:
        raise Damaged(f"the table of {object_key} is damaged: {error}"[:300]) from None
    return members


def _check_members(members: Sequence[Meta], service: str, name: str) -> None:
    """Raise ``ValueError`` unless *members* are those of the batch of *service* with that *name*."""
    if (
        not members
        or any(meta.service != service or meta.part is None or meta.part.name != name for meta in members)
        or batch_name([meta.id for meta in members], members[0].created_at) != name
    ):
        raise ValueError("it is that of another batch")
    span = members[-1].created_at - members[0].created_at
    if span > MAX_NANOS:
        raise ValueError(f"its members are {span} ns apart, and {MAX_NANOS} are allowed")
    end = 0
    for begin, size in sorted((meta.part.begin, meta.size) for meta in members if meta.part):
        if begin != end:
            raise ValueError("its members do not adjoin each other")
        end += size


def dump_members(members: Sequence[Meta]) -> bytes:
    """Return *members*, of one service, as compressed columns of each profile type."""
    by_type: dict[str, list[Meta]] = {}
    for meta in members:
        by_type.setdefault(meta.type, []).append(meta)
    columns = [Members.from_metas(of_type).dump().decode() for of_type in by_type.values()]
    return zlib.compress(json.dumps(columns).encode())


def load_members(data: bytes) -> list[Meta]:
    """Read what :func:`dump_members` wrote, ordered by position.

    Raise ``ValueError``, ``zlib.error`` or ``Invalid`` if that is something else.
    """
    inflater = zlib.decompressobj()
    text = inflater.decompress(data, _MAX_TABLE_BYTES)
    if not inflater.eof or inflater.unused_data:
        raise ValueError(f"it is cut short, or has more than {_MAX_TABLE_BYTES} bytes")
    try:
        columns = json.loads(text)
    except RecursionError as error:
        raise ValueError(str(error)) from None
    if not isinstance(columns, list):
        raise ValueError("it is not a list")
    members = [Members.load(of_type) for of_type in columns]
    if sum(map(len, members)) > MAX_MEMBERS:
        raise ValueError(f"it has more than {MAX_MEMBERS} members")
    return sorted((meta for of_type in members for meta in of_type.metas()), key=lambda meta: meta.position)


def merge_members(batches: Iterable[tuple[int, Iterable[Meta]]]) -> Iterator[Meta]:
    """Yield the members of all *batches*, ordered by position: one that is in several, several times.

    Each batch has a time before which no member of it, or of those that follow, was created.
    """
    waiting: list[tuple[int, str, int, Meta]] = []
    numbers = count()  # of equal members, the first comes first
    for first, members in batches:
        while waiting and waiting[0][0] < first:
            yield heappop(waiting)[-1]
        for meta in members:
            heappush(waiting, (*meta.position, next(numbers), meta))
    while waiting:
        yield heappop(waiting)[-1]
