"""Blocks made and read: what ``profbucket/model/blocks.py`` describes, where it is pprof."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from profbucket.errors import Invalid, ProfbucketError
from profbucket.limits import Limits
from profbucket.model.blocks import MERGED, METAS, PROFILES, SERIES, Block, Members, hash_measures, make_block
from profbucket.model.meta import Meta
from profbucket.pprof.block import container as parts
from profbucket.pprof.block.sparse_rows import Header, SparseRows, combined, numbered, summary, united
from profbucket.pprof.columnar.accumulator import Accumulator
from profbucket.pprof.columnar.arrays import Ints, offsets
from profbucket.pprof.columnar.batch import Batch
from profbucket.pprof.columnar.encode import encode
from profbucket.pprof.columnar.pending import Pending
from profbucket.pprof.columnar.read_batch import read
from profbucket.pprof.columnar.split import split
from profbucket.pprof.compression import deflate, inflate
from profbucket.pprof.merge import Merger

_CHUNK = 400_000  # entries of members that are held before they are packed


@dataclass(frozen=True, slots=True)
class BlockContent:
    """The parts of a block, as far as they were read. Raise ``Invalid`` where one is damaged."""

    block: Block
    data: bytes
    limits: Limits

    def read_merged(self) -> bytes:
        return self._part(MERGED)

    def read_members(self) -> Members:
        return parts.decode_members(self._part(METAS), self.limits)

    def read_series(self) -> SparseRows:
        return SparseRows.load(self._part(SERIES), parts.SERIES_FIELD, self.limits)

    def read_profiles(self) -> Iterator[SparseRows]:
        """The rows of members, in chunks: in no order, but each once."""
        for number in range(PROFILES, len(self.block.ends)):
            yield SparseRows.load(self._part(number), parts.PROFILES_FIELD, self.limits)

    def _part(self, number: int) -> bytes:
        begin, end = (0, *self.block.ends)[number], self.block.ends[number]
        if len(self.data) < end:
            raise Invalid(f"block {self.block.id} is cut short: {len(self.data)} bytes instead of {end}")
        return self.data[begin:end]


def add_rows(merger: Merger, content: BlockContent, part: int, wanted: Collection[int]) -> None:
    """Add to *merger* what some rows of a block hold: its series or its members, as *part* says.

    Raise ``Invalid`` where the block is damaged, or measures something else than what was merged before.
    """
    asked = np.zeros(content.block.count, bool)  # there are not more series than members
    asked[list(wanted)] = True
    chunks = [content.read_series()] if part == SERIES else list(content.read_profiles())
    if any(len(rows) and int(rows.row.max()) >= len(asked) for rows in chunks):
        raise _damaged(content)
    rows = united([rows.of(asked) for rows in chunks])
    batch = _read_merged(merger, content)
    values = np.zeros((len(batch.sample_stream), batch.width[0]), np.int64)
    if len(rows.sample) and (int(rows.sample.max()) >= len(values) or rows.values.shape[1] != values.shape[1]):
        raise _damaged(content)
    for i in range(values.shape[1]):
        np.add.at(values[:, i], rows.sample, rows.values[:, i])
    batch.values = values
    order = np.argsort(rows.row)
    header, about = summary((rows.headers[i] for i in rows.header[order].tolist()), rows.about)
    _put_header(batch, merger.pool, header, about)
    merger.add_batch(batch, content.block.id)


def _damaged(content: BlockContent) -> Invalid:
    return Invalid(f"block {content.block.id} is damaged: a row has samples or a number that it has not")


def _read_merged(merger: Merger, content: BlockContent) -> Batch:
    merger.flush()
    pending = Pending(content.block.id, inflate(content.read_merged(), content.limits))
    split(pending, merger.pool.strings, content.limits)
    errors: list[ProfbucketError] = []
    batch, _ = read([pending], merger.pool.strings, content.limits, errors)
    if batch is None:
        raise errors[0]
    return batch


def _put_header(batch: Batch, pool: Accumulator, header: Header, about: Sequence[int]) -> None:
    """Let a *batch* of one profile say what *header* and *about* do."""
    numbers = [np.array([pool.strings.number(text)]) for text in header.texts]
    batch.drop_frames, batch.keep_frames, batch.default_sample_type, batch.doc_url = numbers
    batch.time_nanos, batch.duration_nanos, batch.period = (np.array([number]) for number in about)
    batch.comment = np.array([pool.strings.number(comment) for comment in header.comments], np.int64)
    batch.comment_stream = np.zeros(len(batch.comment), np.int64)


@dataclass(frozen=True, slots=True)
class BuiltBlock:
    """A block that was made: its members, and all its bytes."""

    members: Members
    data: bytes
    ends: tuple[int, ...]
    measures: str

    def to_block(self, period: int, written_at: int) -> Block:
        return make_block(self.members, period, self.ends, self.measures, written_at)


class BlockBuilder:
    """Makes a block of profiles that are added in the order of their positions.

    What cannot be merged with the first one, or at all, is left out. :attr:`full` says that no more should come.
    """

    def __init__(self, limits: Limits = Limits()) -> None:
        self._limits = limits
        self._merger = Merger(limits, self._observe)
        self._waiting: dict[str, Meta] = {}
        self._metas: list[Meta] = []
        self._weave = _Weave()
        self._series: dict[str, int] = {}

    @property
    def is_full(self) -> bool:
        return self._weave.entries >= self._limits.block_entries

    def add(self, meta: Meta, data: bytes) -> None:
        self._waiting[meta.id] = meta
        with suppress(ProfbucketError):  # about whichever profile it is: that one never gets to _observe
            self._merger.add(data, meta.id)

    def build(self) -> BuiltBlock | None:
        """The block, or ``None`` where nothing was fit for it."""
        while True:
            try:
                self._merger.flush()
                break
            except ProfbucketError:
                continue
        if not self._metas:
            return None
        return self._weave.finish(self._merger.pool, Members.from_metas(self._metas))

    def _observe(self, batch: Batch, names: Sequence[str], numbers: Ints) -> None:
        metas = [self._waiting.pop(name) for name in names]
        row = np.arange(len(self._metas), len(self._metas) + len(metas))
        self._metas += metas
        distinct, header = numbered(_headers(batch, self._merger.pool))
        about = np.stack([batch.time_nanos, batch.duration_nanos, batch.period], axis=1)
        alive = np.flatnonzero(numbers >= 0)
        values = batch.values[alive]
        entries = combined(batch.sample_stream[alive], numbers[alive], values, len(row))
        rows = SparseRows(distinct, row, header, about, *entries)
        self._weave.add(rows)
        series = [self._series.setdefault(meta.series, len(self._series)) for meta in metas]
        self._weave.add_series(np.array(series, np.int64), rows)


def merge_blocks(contents: Sequence[BlockContent], limits: Limits = Limits()) -> BuiltBlock:
    """Make one block of several that measure the same, with no member in common.

    Raise ``Invalid`` where one of them is damaged; the error's text names it.
    """
    lists = [content.read_members() for content in contents]
    members, numbers = _merged_lists(lists)
    labels = {one: number for number, one in enumerate(members.labels)}
    merger, weave = Merger(limits), _Weave()
    for content, listed, number in zip(contents, lists, numbers, strict=True):
        became = merger.add_batch(_read_merged(merger, content), content.block.id, every=True)
        for rows in content.read_profiles():
            group = np.repeat(np.arange(len(rows)), rows.count)
            count, sample, values = combined(group, _of(became, rows.sample, content), rows.values, len(rows))
            weave.add(replace(rows, row=_of(number, rows.row, content), count=count, sample=sample, values=values))
        rows = content.read_series()
        series = _of(np.array([labels[one] for one in listed.labels], np.int64), rows.row, content)
        weave.add_series(series, replace(rows, sample=_of(became, rows.sample, content)))
    return weave.finish(merger.pool, members)


class _Weave:
    """What keeps members apart: their rows packed as they come, and those of each series added up."""

    def __init__(self) -> None:
        self.entries = 0
        self._waiting: list[SparseRows] = []  # of members, not packed yet
        self._waiting_entries = 0
        self._packed: list[bytes] = []
        self._headers: dict[int, Header] = {}  # of members, by number
        self._about: dict[int, list[int]] = {}
        self._series: list[tuple[Ints, Ints, Ints]] = []  # series, sample, values
        self._series_entries = 0
        self._series_bound = _CHUNK

    def add(self, rows: SparseRows) -> None:
        """Take in the rows of some members."""
        numbers = rows.row.tolist()
        self._headers |= zip(numbers, (rows.headers[i] for i in rows.header.tolist()), strict=True)
        self._about |= zip(numbers, rows.about.tolist(), strict=True)
        self.entries += len(rows.sample)
        self._waiting.append(rows)
        self._waiting_entries += len(rows.sample)
        if self._waiting_entries >= _CHUNK:
            self._pack()

    def add_series(self, series: Ints, rows: SparseRows) -> None:
        """Take in entries for series: those that the rows are of, one for each."""
        self._series.append((np.repeat(series, rows.count), rows.sample, rows.values))
        self._series_entries += len(rows.sample)
        if self._series_entries > self._series_bound:
            count, sample, values = self._added_up(int(max(s.max(initial=0) for s, _, _ in self._series)) + 1)
            self._series = [(np.repeat(np.arange(len(count)), count), sample, values)]
            self._series_entries = len(sample)
            self._series_bound = 2 * len(sample) + _CHUNK

    def _pack(self) -> None:
        if self._waiting:
            self._packed.append(united(self._waiting).dump(parts.PROFILES_FIELD))
            self._waiting, self._waiting_entries = [], 0

    def finish(self, pool: Accumulator, members: Members) -> BuiltBlock:
        """The block whose samples are those of *pool*."""
        self._pack()
        count, sample, values = self._added_up(len(members.labels))
        of_series = np.array(members.series)
        order = np.argsort(of_series, kind="stable")
        bounds = offsets(np.bincount(of_series, minlength=len(members.labels)))
        headers, about = [], []
        for begin, end in zip(bounds.tolist(), bounds[1:].tolist(), strict=False):
            rows = order[begin:end].tolist()
            one, numbers = summary(
                [self._headers[row] for row in rows], np.array([self._about[row] for row in rows], np.int64)
            )
            headers.append(one)
            about.append(numbers)
        distinct, header = numbered(headers)
        series = SparseRows(
            distinct, np.arange(len(headers)), header, np.array(about, np.int64), count, sample, values
        )
        data = [
            deflate(encode(pool, [], every=True)),
            parts.encode_members(members),
            series.dump(parts.SERIES_FIELD),
            *self._packed,
        ]
        ends = tuple(offsets(np.array(list(map(len, data)), np.int64))[1:].tolist())
        types, period = pool.types or ((), (0, 0))
        names = [[pool.name(i) for i in pair] for pair in (*types, period)]
        return BuiltBlock(members, b"".join(data), ends, hash_measures(names[:-1], names[-1]))

    def _added_up(self, groups: int) -> tuple[Ints, Ints, Ints]:
        series, sample, values = (np.concatenate(column) for column in zip(*self._series, strict=True))
        return combined(series, sample, values, groups)


def _merged_lists(lists: Sequence[Members]) -> tuple[Members, list[Ints]]:
    """One list of all members, and the numbers there of those of each list. Raise ``Invalid`` for doubles."""
    names = sorted((name, i, row) for i, members in enumerate(lists) for row, name in enumerate(members.names()))
    if len({name for name, _, _ in names}) < len(names):
        raise Invalid("blocks with a member in common cannot become one")
    numbers = [np.zeros(len(members), np.int64) for members in lists]
    for number, (_, i, row) in enumerate(names):
        numbers[i][row] = number
    return Members.from_metas([lists[i].meta(row) for _, i, row in names]), numbers


def _of(numbers: Ints, places: Ints, content: BlockContent) -> Ints:
    """*numbers* at *places* that *content* says; raise ``Invalid`` where there are none."""
    if int(places.max(initial=-1)) >= len(numbers):
        raise _damaged(content)
    return numbers[places]


def _headers(batch: Batch, pool: Accumulator) -> list[Header]:
    """What each profile of *batch* says of itself."""
    texts = np.stack([batch.drop_frames, batch.keep_frames, batch.default_sample_type, batch.doc_url], axis=1)
    comments: list[list[int]] = [[] for _ in range(batch.count)]
    for stream, comment in zip(batch.comment_stream.tolist(), batch.comment.tolist(), strict=True):
        comments[stream].append(comment)
    return [
        Header(tuple(map(pool.name, text)), tuple(map(pool.name, said)))
        for text, said in zip(texts.tolist(), comments, strict=True)
    ]
