"""Batches: their form, and how profiles are divided among them."""

from random import Random

import pytest

from profbucket.errors import Damaged
from profbucket.model.batches import (
    MAX_BYTES,
    MAX_MEMBERS,
    MAX_NANOS,
    IncompleteTable,
    decode_table,
    encode_batch,
    split_into_batches,
)
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
