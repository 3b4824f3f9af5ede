"""Read the parts of a block, and add some of its rows to a merge."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from profbucket.errors import Invalid, ProfbucketError
from profbucket.limits import Limits
from profbucket.model.blocks import MERGED, METAS, PROFILES, SERIES, Block, Members
from profbucket.pprof.block.container import PROFILES_FIELD, SERIES_FIELD, decode_members
from profbucket.pprof.block.sparse_rows import SparseRows, concatenate_rows, merge_headers
from profbucket.pprof.columnar.accumulator import Accumulator
from profbucket.pprof.columnar.arrays import Ints
from profbucket.pprof.columnar.batch import Batch, HeaderColumns
from profbucket.pprof.columnar.encode import encode_merge
from profbucket.pprof.columnar.pending_profile import PendingProfile
from profbucket.pprof.columnar.read_batch import read_batch
from profbucket.pprof.columnar.split import split_profile
from profbucket.pprof.columnar.string_table import StringTable
from profbucket.pprof.compression import inflate
from profbucket.pprof.merge import Merger

# Rows are added with all the content of their block, which is fastest, while this fits a part of a merge's memory.
_MEMORY_PER_RAW_BYTE = 16  # at most, of the content of an inflated pprof
_RESERVE_DIVISOR = 4


@dataclass(frozen=True, slots=True)
class BlockContent:
    """The parts of a block, as far as *data* holds them. Its methods raise ``Invalid`` for a damaged part."""

    block: Block
    data: bytes
    limits: Limits

    def read_merged(self) -> bytes:
        """Return the merge of all members as a pprof."""
        return self._read_part(MERGED)

    def read_members(self) -> Members:
        return decode_members(self._read_part(METAS), self.limits.of_blocks())

    def read_series(self) -> SparseRows:
        """Return a row for each series."""
        return SparseRows.load(self._read_part(SERIES), SERIES_FIELD, self.limits.of_blocks())

    def read_profiles(self) -> Iterator[SparseRows]:
        """Yield chunks of a row for each member, in no particular order."""
        for part in range(PROFILES, len(self.block.ends)):
            yield SparseRows.load(self._read_part(part), PROFILES_FIELD, self.limits.of_blocks())

    def _read_part(self, part: int) -> bytes:
        begin, end = (0, *self.block.ends)[part], self.block.ends[part]
        if len(self.data) < end:
            raise Invalid(
                f"block {self.block.id} is truncated: {len(self.data)} bytes instead of {end}",
                code="damaged_block",
            )
        return self.data[begin:end]


def add_rows(
    merger: Merger,
    content: BlockContent,
    part: int,
    wanted: Collection[int],
    label: tuple[str, str] | None = None,
) -> None:
    """Add some rows of a block to *merger*: the *wanted* series or members, depending on *part*.

    All samples get the *label*, as in :meth:`Merger.add`.

    Of a large block, only what these rows use is added: they may take no more memory than their profiles would.
    Raise ``Invalid`` if the block is damaged, and as :meth:`Merger.add` does.
    """
    rows = select_rows(content, [content.read_series()] if part == SERIES else content.read_profiles(), wanted)
    limits = content.limits.of_blocks()
    raw = inflate(content.read_merged(), limits)
    reserve = content.limits.merge_memory_bytes // _RESERVE_DIVISOR
    is_small = merger.accumulator.estimate_bytes() + _MEMORY_PER_RAW_BYTE * len(raw) <= reserve
    selection = merger if is_small else Merger(limits)
    batch = read_raw(selection.accumulator, content, raw, label)
    values = np.zeros((len(batch.samples.profile), batch.header.sample_type_count[0]), np.int64)
    if len(rows.sample) and (int(rows.sample.max()) >= len(values) or rows.values.shape[1] != values.shape[1]):
        raise damaged_row(content)
    for i in range(values.shape[1]):
        np.add.at(values[:, i], rows.sample, rows.values[:, i])
    batch = batch._replace(
        header=narrow_header(batch.header, selection.accumulator.strings, rows),
        samples=batch.samples._replace(values=values),
    )
    selection.add_batch(batch, content.block.id)
    if not is_small:
        merger.add(encode_merge(selection.accumulator, []), content.block.id, limits)


def select_rows(content: BlockContent, chunks: Iterable[SparseRows], wanted: Collection[int]) -> SparseRows:
    """Return those of the *wanted* series or members; *chunks* are all that *content* has.

    Raise ``Invalid`` if the block is damaged.
    """
    is_wanted = np.zeros(content.block.count, bool)  # there are not more series than members
    is_wanted[list(wanted)] = True
    chunks = list(chunks)
    if any(len(rows) and int(rows.row.max()) >= len(is_wanted) for rows in chunks):
        raise damaged_row(content)
    return concatenate_rows([rows.select(is_wanted) for rows in chunks])


def damaged_row(content: BlockContent) -> Invalid:
    """Return the error for a block with a row that does not fit its other parts."""
    return Invalid(
        f"block {content.block.id} is damaged: a row has a number or a sample that is out of range",
        code="damaged_block",
    )


def take_checked(array: Ints, indexes: Ints, content: BlockContent) -> Ints:
    """Return ``array[indexes]``; raise ``Invalid`` if an index that *content* holds is out of range."""
    if int(indexes.max(initial=-1)) >= len(array):
        raise damaged_row(content)
    return array[indexes]


def read_merged(accumulator: Accumulator, content: BlockContent, label: tuple[str, str] | None = None) -> Batch:
    """Return the merge of a block as a batch with the strings of *accumulator*; all samples get the *label*."""
    return read_raw(accumulator, content, inflate(content.read_merged(), content.limits.of_blocks()), label)


def read_raw(
    accumulator: Accumulator, content: BlockContent, raw: bytes, label: tuple[str, str] | None = None
) -> Batch:
    """Return *raw*, the inflated merge of a block, as :func:`read_merged` does."""
    limits = content.limits.of_blocks()
    profile = PendingProfile(content.block.id, raw, added_label=accumulator.intern_label(label))
    split_profile(profile, accumulator.strings, limits)
    errors: list[ProfbucketError] = []
    batch, _ = read_batch([profile], accumulator.strings, limits, errors)
    if batch is None:
        raise errors[0]
    return batch


def narrow_header(columns: HeaderColumns, strings: StringTable, rows: SparseRows) -> HeaderColumns:
    """Return the header of the merge of *rows* instead of that of their whole block, which *columns* hold."""
    order = np.argsort(rows.row)
    header, timing = merge_headers((rows.headers[i] for i in rows.header[order].tolist()), rows.timing)
    intern = strings.intern
    drop_frames, keep_frames, default_sample_type, doc_url = (np.array([intern(text)]) for text in header.strings)
    time_nanos, duration_nanos, period = (np.array([number]) for number in timing)
    return columns._replace(
        drop_frames=drop_frames,
        keep_frames=keep_frames,
        default_sample_type=default_sample_type,
        doc_url=doc_url,
        time_nanos=time_nanos,
        duration_nanos=duration_nanos,
        period=period,
        comment=np.array([intern(comment) for comment in header.comments], np.int64),
        comment_profile=np.zeros(len(header.comments), np.int64),
    )
