"""Build blocks of profiles and of other blocks; ``profbucket/model/blocks.py`` describes their parts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from profbucket.errors import Invalid, ProfbucketError
from profbucket.limits import Limits
from profbucket.model.blocks import Block, Members, hash_measures, make_block
from profbucket.model.meta import Meta
from profbucket.pprof.block.container import PROFILES_FIELD, SERIES_FIELD, encode_members
from profbucket.pprof.block.content import BlockContent, read_merged, take_checked
from profbucket.pprof.block.sparse_rows import (
    ProfileHeader,
    SparseRows,
    concatenate_rows,
    dedupe_headers,
    merge_headers,
    sum_entries,
)
from profbucket.pprof.columnar.accumulator import Accumulator
from profbucket.pprof.columnar.arrays import Ints, to_offsets
from profbucket.pprof.columnar.batch import Batch, HeaderColumns
from profbucket.pprof.columnar.encode import encode_merge
from profbucket.pprof.compression import deflate
from profbucket.pprof.merge import Merger

_MAX_PENDING_ENTRIES = 400_000


@dataclass(frozen=True, slots=True)
class BuiltBlock:
    """A block before it is stored: its members, its bytes, where its parts end, and a hash of its sample types."""

    members: Members
    data: bytes
    ends: tuple[int, ...]
    measures: str

    def to_block(self, period: int, written_at: int) -> Block:
        """Return the record of this block for a compaction *period* in seconds."""
        return make_block(self.members, period, self.ends, self.measures, written_at)


class BlockBuilder:
    """Builds a block of profiles, which must be added in the order of their positions.

    Invalid profiles, and those whose sample types or frames to drop differ from the first one's, are left out.
    ``invalid`` are the former, with their errors.
    """

    def __init__(self, limits: Limits = Limits()) -> None:
        self._limits = limits
        self._merger = Merger(limits, self._add_batch, dropped_labels=limits.dropped_labels)
        self._pending: dict[str, Meta] = {}
        self._metas: list[Meta] = []
        self.invalid: list[tuple[Meta, ProfbucketError]] = []
        self._matrices = _MatrixBuilder()
        self._series: dict[str, int] = {}

    @property
    def is_full(self) -> bool:
        """True once the block has reached its limit of entries or memory."""
        return (
            self._matrices.entries >= self._limits.block_entries
            or self._merger.accumulator.estimate_bytes() >= self._limits.block_memory_bytes
        )

    def add(self, meta: Meta, data: bytes) -> None:
        self._pending[meta.id] = meta
        try:
            self._merger.add(data, meta.id)
        except ProfbucketError as error:
            self._leave_out(error)

    def build(self) -> BuiltBlock | None:
        """Return the block, or ``None`` if all profiles were left out."""
        while True:
            try:
                self._merger.flush()
                break
            except ProfbucketError as error:
                self._leave_out(error)
        if not self._metas:
            return None
        return self._matrices.build(self._merger.accumulator, Members.from_metas(self._metas))

    def _leave_out(self, error: ProfbucketError) -> None:
        """Record the *error* of a profile, with whose id it begins; the profile never reaches _add_batch."""
        if error.code != "sample_types_differ":
            self.invalid.append((self._pending[str(error).partition(": ")[0]], error))

    def _add_batch(self, batch: Batch, names: Sequence[str], indexes: Ints) -> None:
        """Record which samples, by their *indexes* in the merge, each profile of *batch* has."""
        metas = [self._pending.pop(name) for name in names]
        row = np.arange(len(self._metas), len(self._metas) + len(metas))
        self._metas += metas
        headers, header = dedupe_headers(_list_headers(batch.header, self._merger.accumulator))
        timing = np.stack([batch.header.time_nanos, batch.header.duration_nanos, batch.header.period], axis=1)
        kept = np.flatnonzero(indexes >= 0)
        entries = sum_entries(batch.samples.profile[kept], indexes[kept], batch.samples.values[kept], len(row))
        rows = SparseRows(headers, row, header, timing, *entries)
        self._matrices.add_profiles(rows)
        series = [self._series.setdefault(meta.series, len(self._series)) for meta in metas]
        self._matrices.add_series(np.array(series, np.int64), rows)


def merge_blocks(contents: Sequence[BlockContent], limits: Limits = Limits()) -> BuiltBlock:
    """Merge blocks with the same sample types and no member in common into one.

    Raise ``Invalid``, which names the block, if one is damaged, ``TooLarge`` if the result exceeds a limit.
    """
    lists = [content.read_members() for content in contents]
    members, member_numbers = _merge_members(lists)
    series_numbers = {labels: number for number, labels in enumerate(members.labels)}
    merger, matrices = Merger(limits.of_blocks()), _MatrixBuilder()
    for content, block_members, numbers in zip(contents, lists, member_numbers, strict=True):
        indexes = merger.add_batch(read_merged(merger.accumulator, content), content.block.id, keep_zeros=True)
        estimate = merger.accumulator.estimate_bytes()
        if estimate > limits.block_memory_bytes:
            problem = f"the distinct stacks and strings of {len(contents)} blocks take {estimate} bytes"
            raise limits.too_large("block_memory_bytes", problem)
        for rows in content.read_profiles():
            row = np.repeat(np.arange(len(rows)), rows.count)
            sample = take_checked(indexes, rows.sample, content)
            count, sample, values = sum_entries(row, sample, rows.values, len(rows))
            matrices.add_profiles(
                replace(
                    rows,
                    row=take_checked(numbers, rows.row, content),
                    count=count,
                    sample=sample,
                    values=values,
                )
            )
        rows = content.read_series()
        new_numbers = np.array([series_numbers[labels] for labels in block_members.labels], np.int64)
        series = take_checked(new_numbers, rows.row, content)
        matrices.add_series(series, replace(rows, sample=take_checked(indexes, rows.sample, content)))
    return matrices.build(merger.accumulator, members)


class _MatrixBuilder:
    """Builds the matrices of a block: rows of members are encoded as they come, those of series added up."""

    def __init__(self) -> None:
        self.entries = 0
        self._pending: list[SparseRows] = []
        self._pending_entries = 0
        self._encoded: list[bytes] = []
        self._headers: dict[int, ProfileHeader] = {}  # by number of the member
        self._timing: dict[int, list[int]] = {}
        self._series: list[tuple[Ints, Ints, Ints]] = []  # series, sample and values of entries
        self._series_entries = 0
        self._max_series_entries = _MAX_PENDING_ENTRIES

    def add_profiles(self, rows: SparseRows) -> None:
        """Add the rows of some members."""
        numbers = rows.row.tolist()
        self._headers |= zip(numbers, (rows.headers[i] for i in rows.header.tolist()), strict=True)
        self._timing |= zip(numbers, rows.timing.tolist(), strict=True)
        self.entries += len(rows.sample)
        self._pending.append(rows)
        self._pending_entries += len(rows.sample)
        if self._pending_entries >= _MAX_PENDING_ENTRIES:
            self._encode_pending()

    def add_series(self, series: Ints, rows: SparseRows) -> None:
        """Add the entries of *rows* to those of their series; ``series[i]`` is that of row i."""
        self._series.append((np.repeat(series, rows.count), rows.sample, rows.values))
        self._series_entries += len(rows.sample)
        if self._series_entries > self._max_series_entries:
            count, sample, values = self._sum_series(int(max(s.max(initial=0) for s, _, _ in self._series)) + 1)
            self._series = [(np.repeat(np.arange(len(count)), count), sample, values)]
            self._series_entries = len(sample)
            self._max_series_entries = 2 * len(sample) + _MAX_PENDING_ENTRIES

    def build(self, accumulator: Accumulator, members: Members) -> BuiltBlock:
        """Return the block of *members* whose merge is *accumulator*."""
        self._encode_pending()
        data = [
            deflate(encode_merge(accumulator, [], keep_zeros=True)),
            encode_members(members),
            self._build_series(members).dump(SERIES_FIELD),
            *self._encoded,
        ]
        ends = tuple(to_offsets(np.array(list(map(len, data)), np.int64))[1:].tolist())
        sample_types, period_type = accumulator.signature or ((), (0, 0))
        names = [[accumulator.string(i) for i in pair] for pair in (*sample_types, period_type)]
        rules = [accumulator.string(i) for i in accumulator.frame_rules]
        return BuiltBlock(members, b"".join(data), ends, hash_measures(names[:-1], names[-1], rules))

    def _build_series(self, members: Members) -> SparseRows:
        series_count = len(members.labels)
        count, sample, values = self._sum_series(series_count)
        series_of_member = np.array(members.series)
        order = np.argsort(series_of_member, kind="stable")
        bounds = to_offsets(np.bincount(series_of_member, minlength=series_count))
        headers, timings = [], []
        for begin, end in zip(bounds.tolist(), bounds[1:].tolist(), strict=False):
            numbers = order[begin:end].tolist()
            header, timing = merge_headers(
                [self._headers[number] for number in numbers],
                np.array([self._timing[number] for number in numbers], np.int64),
            )
            headers.append(header)
            timings.append(timing)
        distinct, header_index = dedupe_headers(headers)
        return SparseRows(
            headers=distinct,
            row=np.arange(series_count),
            header=header_index,
            timing=np.array(timings, np.int64),
            count=count,
            sample=sample,
            values=values,
        )

    def _sum_series(self, series_count: int) -> tuple[Ints, Ints, Ints]:
        series, sample, values = (np.concatenate(column) for column in zip(*self._series, strict=True))
        return sum_entries(series, sample, values, series_count)

    def _encode_pending(self) -> None:
        if self._pending:
            self._encoded.append(concatenate_rows(self._pending).dump(PROFILES_FIELD))
            self._pending, self._pending_entries = [], 0


def _merge_members(lists: Sequence[Members]) -> tuple[Members, list[Ints]]:
    """Return all members in one list, and for each of *lists* the numbers of its members in that list.

    Raise ``Invalid`` if a member is in several.
    """
    names = sorted((name, i, row) for i, members in enumerate(lists) for row, name in enumerate(members.names()))
    if len({name for name, _, _ in names}) < len(names):
        raise Invalid("blocks with a member in common cannot be merged")
    numbers = [np.zeros(len(members), np.int64) for members in lists]
    for number, (_, i, row) in enumerate(names):
        numbers[i][row] = number
    return Members.from_metas([lists[i].meta(row) for _, i, row in names]), numbers


def _list_headers(columns: HeaderColumns, accumulator: Accumulator) -> list[ProfileHeader]:
    """Return the header of each profile of a batch."""
    strings = np.stack(
        [columns.drop_frames, columns.keep_frames, columns.default_sample_type, columns.doc_url], axis=1
    )
    comments: list[list[int]] = [[] for _ in strings]
    for profile, comment in zip(columns.comment_profile.tolist(), columns.comment.tolist(), strict=True):
        comments[profile].append(comment)
    return [
        ProfileHeader(tuple(map(accumulator.string, row)), tuple(map(accumulator.string, row_comments)))
        for row, row_comments in zip(strings.tolist(), comments, strict=True)
    ]
