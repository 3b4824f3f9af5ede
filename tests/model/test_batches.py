"""Batches: their form, and how profiles are divided among them."""

import json
import struct
import tracemalloc
import zlib
from hashlib import sha256
from itertools import count
from random import Random
from typing import Any

import pytest

from profbucket.errors import Damaged
from profbucket.model.batches import (
    MAX_BYTES,
    MAX_MEMBERS,
    MAX_NANOS,
    IncompleteTable,
    decode_table,
    dump_members,
    encode_batch,
    load_members,
    split_into_batches,
)
from profbucket.model.blocks import Members
from profbucket.model.ids import batch_key, parse_batch_key
from profbucket.model.labels import Labels
from profbucket.model.meta import BatchPart, Meta, Total
from profbucket.model.profile_type import ProfileType
from profbucket.model.sample_kinds import Kind
from tests.support.storage.examples import NOW, TRICKY_TEXTS, make_meta

BATCH = [
    (
        make_meta(
            NOW + number,
            service="größe/🔥",
            type=(ProfileType.CPU, ProfileType("batch"))[number % 2],
            labels=Labels.from_pairs([("text", text)]),
            data=text.encode() * 9,
            totals=[Total(text, "ü", -number, Kind.SUM if number % 3 else None)],
        ),
        text.encode() * 9,
    )
    for number, text in enumerate(TRICKY_TEXTS)
]
MEMBERS, DATA = encode_batch(BATCH)
KEY = batch_key("größe/🔥", MEMBERS[0].part.name if MEMBERS[0].part else "")


NAME = parse_batch_key(KEY)[1]
# Of each column of a table, values that no batch has.
HOSTILE_COLUMNS: dict[str, list[Any]] = {
    "format": [0, [], None],
    "service": ["other", 5, None, [], {}, "\ud800"],
    "type": ["heap", "../x", 5, None, []],
    "labels": [{}, "xx", [5] * 10, [None] * 10, [[]] * 10, ["v"] * 10],
    "types": ["abc", 5, [[(1, 2)]] * 10, [[("a", {})]] * 10, [[("a",)]] * 10],
    "first": ["a" * 10**6, [1] * 10**6, None, 1.5, float("nan"), -1, 10**4000, 0, 2**62],
    "after": [[], [[1]] * 10, ["x"] * 10, list(range(10)), [10**18] * 10],
    "digest": [["0" * 16] * 10, ["../../etc/passwd"] * 10, ["0" * 10**5] * 10, ["A" * 16] * 10, [None] * 10],
    "series": [[-1] * 10, [10**9] * 10, [None] * 10, [True] * 10],
    "size": [[-5] * 10, [10**30] * 10, [10**12] * 10, [0] * 10, [1.5] * 10],
    "measured": [[-1] * 10, [10**9] * 10, [None] * 10],
    "totals": [5, [[]] * 10, [["x"]] * 10, [[1, 2]] * 10],
    "kinds": [5, [[{}]], [["none"]] * 10],
    "parts": [
        (),
        [""] * 10,
        [5] * 10,
        [f"{NAME}:0"] * 10,
        [f"{NAME}:{'9' * 15}"] * 10,
        ["20240101T000000.000000000Z-0123456789abcdef:0"] * 10,
        ["../../x:0"] * 10,
    ],
}
_NESTED = "[" * 10**6


def batch_with(table: bytes) -> bytes:
    """Return the batch with another table, whose checksum is right."""
    checks = struct.pack(">16sI8s", sha256(table).digest()[:16], len(table), b"pbbatch1")
    return DATA[: sum(meta.size for meta in MEMBERS)] + table + checks


def pack(*columns: object) -> bytes:
    return zlib.compress(
        json.dumps([text if isinstance(text, str) else json.dumps(text) for text in columns]).encode()
    )


def profiles_of(*times: int, size: int = 1) -> list[tuple[Meta, bytes]]:
    return [(make_meta(time, data=bytes(size)), bytes(size)) for time in times]


def test_members_are_restored_from_the_end_of_a_batch() -> None:
    members = decode_table(KEY, DATA)
    assert members == [meta for meta, _ in BATCH]
    for meta, (_, data) in zip(members, BATCH, strict=True):
        assert meta.part
        assert DATA[meta.part.begin : meta.part.begin + meta.size] == data
    with pytest.raises(IncompleteTable) as error:
        decode_table(KEY, DATA[-100:])
    assert decode_table(KEY, DATA[-error.value.size :]) == members


def test_equal_profiles_make_the_same_batch_in_any_order() -> None:
    shuffled = [*BATCH, *BATCH[:5]]
    Random(0).shuffle(shuffled)
    [again] = split_into_batches(shuffled)
    assert encode_batch(again) == (MEMBERS, DATA)


def test_every_change_to_the_table_is_damage() -> None:
    """That of a profile is not: its own digest tells."""
    size = len(DATA) - MEMBERS[-1].size - (MEMBERS[-1].part.begin if MEMBERS[-1].part else 0)
    for position in [*range(1, 30), *range(30, size, 7)]:
        changed = bytearray(DATA)
        changed[-position] ^= 1 << position % 8
        with pytest.raises((Damaged, IncompleteTable)):
            decode_table(KEY, bytes(changed))
    for end in (b"", DATA[-5:], DATA[:-1], DATA + b"x", bytes(1000)):
        with pytest.raises(Damaged):
            decode_table(KEY, end)
    with pytest.raises(Damaged, match="another batch"):
        decode_table(batch_key("other", parse_batch_key(KEY)[1]), DATA)


@pytest.mark.parametrize("column", HOSTILE_COLUMNS)
def test_a_hostile_column_is_damage(column: str) -> None:
    own, *others = (
        json.loads(Members.from_metas([meta for meta in MEMBERS if meta.type == profile_type]).dump())
        for profile_type in dict.fromkeys(meta.type for meta in MEMBERS)
    )
    assert decode_table(KEY, batch_with(pack(own, *others)))
    assert len(own["after"]) == 10
    for value in HOSTILE_COLUMNS[column]:
        with pytest.raises(Damaged):
            decode_table(KEY, batch_with(pack({**own, column: value}, *others)))


@pytest.mark.parametrize(
    "table",
    [
        b"",
        b"junk",
        dump_members(MEMBERS)[:-5],
        dump_members(MEMBERS) + b"junk",
        dump_members(MEMBERS[:-1]),
        dump_members([*MEMBERS, *MEMBERS]),
        pack(),
        pack([]),
        pack(None),
        pack(_NESTED),
        *(zlib.compress(text.encode()) for text in ("5", '"x"', "{}", "[1]", "9" * 10**5, _NESTED, "null")),
    ],
    ids=count(),
)
def test_a_hostile_table_is_damage(table: bytes) -> None:
    with pytest.raises(Damaged):
        decode_table(KEY, batch_with(table))


def test_a_small_table_of_a_hundred_million_members_takes_no_memory() -> None:
    deflater = zlib.compressobj()
    numbers = b"0," * (1 << 20)
    parts = [deflater.compress(part) for part in (b'["{\\"after\\":[', *([numbers] * 100), b'0]}"]')]
    data = batch_with(b"".join(parts) + deflater.flush())
    assert len(data) < 1 << 20
    tracemalloc.start()
    try:
        with pytest.raises(Damaged, match="has more than"):
            decode_table(KEY, data)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_the_number_of_members_that_are_decoded_is_bounded() -> None:
    data = dump_members([meta for meta, _ in profiles_of(*range(MAX_MEMBERS + 1))])
    with pytest.raises(ValueError, match=f"more than {MAX_MEMBERS}"):
        load_members(data)


def test_the_longest_texts_are_divided_so_that_tables_stay_readable() -> None:
    """A control character, escaped twice, takes seven bytes in a table."""
    profiles = []
    for number in range(MAX_MEMBERS):
        totals = [Total(f"{number}{index}\1\1\1\1", "\1" * 30, -(2**63), Kind.SUM) for index in range(64)]
        labels = Labels.from_pairs([("v", f"{number}".ljust(1100, "x"))])
        profiles.append((make_meta(NOW + number, labels=labels, totals=totals, data=b"x"), b"x"))
    batches = [encode_batch(batch) for batch in split_into_batches(profiles)]
    assert len(batches) > 1
    restored = [
        decode_table(batch_key("api", members[0].part.name), data) for members, data in batches if members[0].part
    ]
    assert [meta for table in restored for meta in table] == [meta for meta, _ in profiles]


def test_a_batch_is_bounded_in_time_number_and_size() -> None:
    for profiles, expected in (
        (profiles_of(0, MAX_NANOS, MAX_NANOS + 1), [2, 1]),
        (profiles_of(*range(MAX_MEMBERS + 1)), [MAX_MEMBERS, 1]),
        (profiles_of(1, 2, 3, size=MAX_BYTES // 2), [2, 1]),
        (profiles_of(1, 2, size=MAX_BYTES + 1), [1, 1]),
        ([], []),
    ):
        assert [len(batch) for batch in split_into_batches(profiles)] == expected


@pytest.mark.parametrize("text", ["", "x:1", "../x:1", f"{'0' * 8}T{'0' * 6}.{'0' * 9}Z-{'0' * 16}:-1"])
def test_a_part_that_is_malformed_never_becomes_a_key(text: str) -> None:
    with pytest.raises(ValueError, match="not a part of a batch"):
        BatchPart.load(text)
