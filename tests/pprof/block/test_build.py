"""Blocks as bytes: pprof tools read them, their parts round-trip, and damaged ones raise errors."""

import itertools
import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.errors import Invalid, ProfbucketError
from profbucket.limits import Limits
from profbucket.model.blocks import PROFILES, SERIES, Block, Members, from_metadata, to_metadata
from profbucket.model.labels import Labels
from profbucket.model.meta import Total
from profbucket.model.profile_type import ProfileType
from profbucket.pprof import deflate, inflate
from profbucket.pprof.block.build import merge_blocks
from profbucket.pprof.block.container import PROFILES_FIELD, SERIES_FIELD, decode_part, encode_part
from profbucket.pprof.block.content import BlockContent, add_rows
from profbucket.pprof.block.sparse_rows import ProfileHeader, SparseRows, concatenate_rows, sum_entries
from profbucket.pprof.merge import Merger
from profbucket.query.querier import Querier
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from tests.support.canonical import canonicalize
from tests.support.go_tool import GoPprof
from tests.support.storage.compaction_suite import MIDNIGHT, QUERIES, compact, post_profiles
from tests.support.storage.examples import NOW, make_meta

INTS = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 300)


@pytest.fixture
def stored() -> tuple[Storage, Block, bytes]:
    """Return a storage whose only block has thirty members of three series, the block, and its bytes."""
    storage = Storage(MemoryBucket(), MemoryIndex())
    post_profiles(storage, range(30))
    compact(storage, MIDNIGHT + 10**13)
    [block] = storage.index.blocks("api", ProfileType.CPU, 0, 2**62)
    return storage, block, storage.bucket.get(block.id)


def test_go_tool_pprof_opens_a_block_as_the_merge_of_its_members(
    stored: tuple[Storage, Block, bytes], go_pprof: GoPprof, tmp_path: Path
) -> None:
    storage, _, data = stored
    (tmp_path / "a.block").write_bytes(data)
    go_pprof("-proto", f"-output={tmp_path / 'out'}", str(tmp_path / "a.block")).check()
    merged = Querier(storage).merge(QUERIES[0]).data
    assert canonicalize((tmp_path / "out").read_bytes()).samples == canonicalize(merged).samples


@st.composite
def sparse_rows(draw: Any) -> SparseRows:
    """Generate rows with any values: of the whole range, all equal, multiples of a unit, none at all."""
    count = draw(st.lists(st.integers(0, 4), min_size=1, max_size=5))
    width = draw(st.integers(1, 3))
    samples = [sorted(draw(st.sets(st.integers(0, 70_000), min_size=n, max_size=n))) for n in count]
    unit, base = draw(st.sampled_from([1, 10_000_000])), draw(st.sampled_from([0, 1, -5]))
    small = st.integers(0, 300).map(lambda value: value * unit + base)
    values = draw(
        st.lists(st.lists(INTS | small, min_size=width, max_size=width), min_size=sum(count), max_size=sum(count))
    )
    headers = [ProfileHeader((b"", b"\xff.*", b"cpu", b""), (b"said", b"\x00")), ProfileHeader((b"",) * 4, ())]
    n = len(count)
    return SparseRows(
        headers,
        np.array(draw(st.lists(st.integers(0, 9), min_size=n, max_size=n, unique=True)), np.int64),
        np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), np.int64),
        np.array(draw(st.lists(st.tuples(INTS, INTS, INTS), min_size=n, max_size=n)), np.int64).reshape(n, 3),
        np.array(count, np.int64),
        np.array([*itertools.chain.from_iterable(samples)], np.int64),
        np.array(values, np.int64).reshape(-1, width),
    )


def to_lists(rows: SparseRows) -> list[Any]:
    """Return the content of each row, whatever the order of the headers."""
    ends = np.cumsum(rows.count).tolist()
    return [
        (
            row,
            rows.headers[header],
            timing,
            rows.sample[end - n : end].tolist(),
            rows.values[end - n : end].tolist(),
        )
        for row, header, timing, n, end in zip(
            rows.row.tolist(), rows.header.tolist(), rows.timing.tolist(), rows.count.tolist(), ends, strict=True
        )
    ]


@given(sparse_rows())
def test_rows_round_trip(rows: SparseRows) -> None:
    assert to_lists(SparseRows.load(rows.dump(2002), 2002)) == to_lists(rows)


@given(sparse_rows(), sparse_rows(), st.sets(st.integers(0, 9)))
def test_rows_are_selected_by_their_numbers_and_concatenated(
    a: SparseRows, b: SparseRows, wanted: set[int]
) -> None:
    is_wanted = np.zeros(10, bool)
    is_wanted[list(wanted)] = True
    assert to_lists(a.select(is_wanted)) == [row for row in to_lists(a) if row[0] in wanted]
    if a.values.shape[1] == b.values.shape[1]:
        assert to_lists(concatenate_rows([a, b])) == to_lists(a) + to_lists(b)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(-(2**60), 2**60)), max_size=30))
def test_entries_of_one_row_and_sample_are_added_up(entries: list[tuple[int, int, int]]) -> None:
    columns = [np.array([entry[i] for entry in entries], np.int64) for i in range(3)]
    count, sample, values = sum_entries(columns[0], columns[1], columns[2].reshape(-1, 1), 4)
    expected: dict[tuple[int, int], int] = {}
    for group, number, value in entries:
        expected[group, number] = expected.get((group, number), 0) + value
    assert count.tolist() == [sum(group == row for group, _ in expected) for row in range(4)]
    assert sample.tolist() == [number for _, number in sorted(expected)]
    assert values.ravel().tolist() == [expected[key] for key in sorted(expected)]


def test_a_list_of_members_round_trips() -> None:
    metas = [
        make_meta(5, labels="v=1", totals=[Total("cpu", "nanoseconds", 2**70)]),
        make_meta(6, labels="v=größe%20", totals=[Total("a:b", "", -1), Total("cpu", "nanoseconds", 0)]),
        make_meta(2**62, labels="v=1"),
    ]
    members = Members.load(Members.from_metas(metas).dump())
    assert list(members.metas()) == metas
    assert members.labels == [Labels.parse("v=1"), Labels.parse("v=größe%20")]


def test_a_list_tells_members_from_others_of_the_same_time_or_type() -> None:
    metas = [
        make_meta(labels="n=1"),
        make_meta(labels="n=2"),
        make_meta(labels="n=3"),
        make_meta(NOW + 5),
        make_meta(NOW + 9),
    ]
    metas.sort(key=lambda meta: meta.position)
    members = Members.from_metas(metas[1:4])
    others = [
        metas[0],
        metas[4],
        make_meta(NOW + 5, labels="n=1"),
        make_meta(NOW + 5, type=ProfileType.HEAP),
        make_meta(NOW + 6),
    ]
    assert members.member_ids([*others, *metas]) == [meta.id for meta in metas[1:4]]
    assert members.member_ids([replace(metas[3], type=ProfileType.HEAP)]) == []
    assert members.member_ids([]) == []


def test_a_list_without_members_is_damaged() -> None:
    listed = json.loads(Members.from_metas([make_meta()]).dump())
    listed |= {column: [] for column in ("after", "digest", "series", "size", "measured", "totals")}
    with pytest.raises(Invalid, match="invalid list of a block's members"):
        Members.load(json.dumps(listed).encode())


def test_the_record_of_a_block_round_trips_through_metadata(stored: tuple[Storage, Block, bytes]) -> None:
    _, block, _ = stored
    assert from_metadata(block.id, to_metadata(block)) == block
    assert sum(len(name) + len(text) for name, text in to_metadata(block).items()) < 400
    for name in to_metadata(block):
        with pytest.raises(Invalid, match="invalid block metadata"):
            from_metadata(
                block.id,
                {**to_metadata(block), name: "x" if name != "measures" else ""} if name != "measures" else {},
            )
    with pytest.raises(Invalid, match="not the key of a block"):
        from_metadata(block.id.removesuffix(".block"), to_metadata(block))


@given(st.data())
def test_a_damaged_block_raises_an_error_or_can_be_read(data: st.DataObject) -> None:
    """Bytes of any part are changed, before or after compression."""
    storage = Storage(MemoryBucket(), MemoryIndex())
    post_profiles(storage, range(3))
    compact(storage, MIDNIGHT + 10**13)
    [block] = storage.index.blocks("api", ProfileType.CPU, 0, 2**62)
    whole = storage.bucket.get(block.id)
    pieces = [whole[begin:end] for begin, end in zip((0, *block.ends), block.ends, strict=False)]
    number = data.draw(st.integers(0, 3))
    piece = bytearray(inflate(pieces[number]) if data.draw(st.booleans()) else pieces[number])
    for _ in range(data.draw(st.integers(1, 4))):
        piece[data.draw(st.integers(0, len(piece) - 1))] = data.draw(st.integers(0, 255))
    pieces[number] = deflate(bytes(piece)) if data.draw(st.booleans()) else bytes(piece)
    ends = tuple(itertools.accumulate(map(len, pieces)))
    damaged = BlockContent(replace(block, ends=ends), b"".join(pieces), Limits())
    for part in (SERIES, PROFILES):
        with suppress(ProfbucketError):
            merger = Merger()
            add_rows(merger, damaged, part, [0])
            merger.result()
    with suppress(ProfbucketError):
        list(damaged.read_members().metas())
    with suppress(ProfbucketError):
        merge_blocks([damaged])
    with pytest.raises(Invalid, match="is truncated"):
        add_rows(Merger(), replace(damaged, data=damaged.data[:40]), SERIES, [0])


@pytest.mark.parametrize("part", [SERIES, PROFILES])
@pytest.mark.parametrize("column", ["row", "sample"])
def test_rows_with_numbers_out_of_range_are_damaged(
    stored: tuple[Storage, Block, bytes], part: int, column: str
) -> None:
    _, block, whole = stored
    pieces = [whole[begin:end] for begin, end in zip((0, *block.ends), block.ends, strict=False)]
    content = BlockContent(block, whole, Limits())
    [rows] = [content.read_series()] if part == SERIES else content.read_profiles()
    beyond = getattr(rows, column) + 10_000
    pieces[part] = replace(rows, **{column: beyond}).dump(part + SERIES_FIELD - SERIES)
    ends = tuple(itertools.accumulate(map(len, pieces)))
    with pytest.raises(Invalid, match=block.id):
        merge_blocks([BlockContent(replace(block, ends=ends), b"".join(pieces), Limits())])


def test_a_part_is_not_mistaken_for_another() -> None:
    part = encode_part(SERIES_FIELD, b"x" * 300)
    assert decode_part(part, SERIES_FIELD) == b"x" * 300
    with pytest.raises(Invalid, match="field 2003"):
        decode_part(part, PROFILES_FIELD)
