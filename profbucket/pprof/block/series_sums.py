"""Add up the samples of each series over several blocks: the columns from which tables are made."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from profbucket.limits import Limits
from profbucket.model.labels import Labels
from profbucket.pprof.block.content import BlockContent, damaged_row, read_merged, read_raw, take_checked
from profbucket.pprof.block.sparse_rows import SparseRows, sum_entries
from profbucket.pprof.columnar.accumulator import Accumulator
from profbucket.pprof.columnar.arrays import Ints
from profbucket.pprof.columnar.encode import encode_merge
from profbucket.pprof.merge import Merger
from profbucket.pprof.report.prune import drop_frames


@dataclass(frozen=True, slots=True)
class SeriesSums:
    """The merged samples of each series: E entries of T sample types, ordered by series and sample.

    An entry's ``sample`` is an index into the samples of *accumulator*, its ``series`` one into *labels*.
    ``measures`` is that of the blocks.
    """

    accumulator: Accumulator
    labels: list[Labels]
    measures: str
    series: Ints  # (E,)
    sample: Ints  # (E,)
    values: Ints  # (E, T)

    def sample_types(self) -> list[tuple[str, str]]:
        """Return type and unit of each column of ``values``."""
        string = self.accumulator.string
        pairs, _ = self.accumulator.signature or ((), (0, 0))
        return [
            (string(name).decode(errors="replace"), string(unit).decode(errors="replace")) for name, unit in pairs
        ]


def sum_series(contents: Iterable[BlockContent], start: int, end: int, limits: Limits) -> Iterator[SeriesSums]:
    """Yield the sums over the members of blocks that were created from *start* to *end*, both included.

    The blocks have no member in common. Those with equal measures give one result, unless its distinct stacks take
    more memory than ``limits.block_memory_bytes``. Frames that profiles ask to drop are dropped.
    *contents* are ordered by their measures. Raise ``Invalid``, which names the block, if one is damaged.
    """
    group: _Group | None = None
    for content in contents:
        if group and (group.measures != content.block.measures or group.is_full(limits)):
            yield group.result()
            group = None
        group = group or _Group(content.block.measures, limits)
        group.add(content, start, end)
    if group:
        yield group.result()


class _Group:
    """The sums over blocks with equal *measures*."""

    def __init__(self, measures: str, limits: Limits) -> None:
        self.measures = measures
        self._limits = limits.of_blocks()
        self._merger = Merger(self._limits)
        self._numbers: dict[Labels, int] = {}
        self._series, self._sample = np.zeros((2, 0), np.int64)
        self._values: Ints | None = None
        self._content: BlockContent | None = None

    def is_full(self, limits: Limits) -> bool:
        return self._merger.accumulator.estimate_bytes() > limits.block_memory_bytes

    def add(self, content: BlockContent, start: int, end: int) -> None:
        self._content = content
        members = content.read_members()
        is_wanted = np.array([start <= time <= end for time in members.created_at])
        numbers = np.array([self._numbers.setdefault(own, len(self._numbers)) for own in members.labels], np.int64)
        batch = read_merged(self._merger.accumulator, content)
        indexes = self._merger.add_batch(batch, content.block.id, keep_zeros=True)
        if is_wanted.all():
            self._add_rows(content, content.read_series(), numbers, indexes)
            return
        numbers = numbers[np.array(members.series, np.int64)]
        for rows in content.read_profiles():
            take_checked(numbers, rows.row, content)
            self._add_rows(content, rows.select(is_wanted), numbers, indexes)

    def _add_rows(self, content: BlockContent, rows: SparseRows, numbers: Ints, indexes: Ints) -> None:
        """Add the entries of *rows*; *numbers* are the series of rows, *indexes* the samples of the block's."""
        if rows.values.shape[1] != self._merger.accumulator.values.shape[1]:
            raise damaged_row(content)
        series = np.repeat(take_checked(numbers, rows.row, content), rows.count)
        self._add_entries(series, take_checked(indexes, rows.sample, content), rows.values)

    def _add_entries(self, series: Ints, sample: Ints, values: Ints) -> None:
        if self._values is not None:
            series = np.concatenate([self._series, series])
            sample = np.concatenate([self._sample, sample])
            values = np.concatenate([self._values, values])
        count, self._sample, self._values = sum_entries(series, sample, values, len(self._numbers))
        self._series = np.repeat(np.arange(len(count)), count)

    def result(self) -> SeriesSums:
        assert self._values is not None  # noqa: S101 - of the first block
        accumulator, series, sample, values = self._merger.accumulator, self._series, self._sample, self._values
        if any(accumulator.string(rule) for rule in accumulator.frame_rules):
            accumulator, indexes = self._drop_frames(accumulator)
            count, sample, values = sum_entries(series, indexes[sample], values, len(self._numbers))
            series = np.repeat(np.arange(len(count)), count)
        return SeriesSums(accumulator, list(self._numbers), self.measures, series, sample, values)

    def _drop_frames(self, accumulator: Accumulator) -> tuple[Accumulator, Ints]:
        """Return the content without the frames to drop, and the new index of each sample."""
        assert self._content is not None  # noqa: S101
        raw = drop_frames(encode_merge(accumulator, [], keep_zeros=True))
        merger = Merger(self._limits)
        batch = read_raw(merger.accumulator, self._content, raw)
        indexes = merger.add_batch(batch, self._content.block.id, keep_zeros=True)
        return merger.accumulator, indexes
