"""Counters of profiles by stack, and their increases.

A profile's counters are read into columns, so that those of several profiles can be compared, and increases added
up, without a tree of objects.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from profbucket.errors import ProfbucketError
from profbucket.limits import Limits
from profbucket.pprof.block.content import BlockContent, damaged_row, narrow_header, read_merged, select_rows
from profbucket.pprof.block.sparse_rows import sum_entries
from profbucket.pprof.columnar.accumulator import Accumulator
from profbucket.pprof.columnar.arrays import Ints, to_offsets
from profbucket.pprof.columnar.batch import Batch, FrameRules
from profbucket.pprof.columnar.encode import encode_merge
from profbucket.pprof.columnar.pending_profile import PendingProfile
from profbucket.pprof.columnar.read_batch import read_batch
from profbucket.pprof.columnar.split import split_profile
from profbucket.pprof.compression import inflate
from profbucket.pprof.merge import describe_dropped

_SpaceKey = tuple[tuple[tuple[int, ...], ...], FrameRules]  # sample types, and the frames to drop

_AddedLabel = tuple[str, str] | None


class Space:
    """The stacks of all profiles with the same sample types and frames to drop, and the increases of counters."""

    def __init__(self, content: Accumulator, sample_types: Sequence[str], counters: Sequence[int]) -> None:
        self.content = content
        self.sample_types = sample_types
        self.counters = counters  # numbers of the sample types that may be counters
        self._increase = np.zeros((0, len(counters)), np.int64)

    def add(self, sample: Ints, values: Ints) -> None:
        """Add *values* (E, counters) of the stacks *sample* (E,) to the increases."""
        size = len(self.content.samples)
        if size > len(self._increase):
            larger = np.zeros((2 * size, len(self.counters)), np.int64)
            larger[: len(self._increase)] = self._increase
            self._increase = larger
        self._increase[sample] += values  # the stacks of one profile differ

    def encode(self) -> bytes:
        """Return the increases as a raw pprof."""
        size = len(self.content.samples)
        self.content.values[:size] = 0
        self.content.values[: min(size, len(self._increase)), self.counters] = self._increase[:size]
        return encode_merge(self.content, [])


@dataclass(frozen=True, slots=True)
class Counters:
    """The counters of one profile: the stacks that have any, ascending (E,), with their values (E, counters)."""

    space: Space
    sample: Ints
    values: Ints

    def totals(self, columns: Ints) -> list[int]:
        """Return the sum of each of the counters *columns*."""
        return list(map(int, self.values[:, columns].sum(axis=0)))

    def continues(self, earlier: "Counters", columns: Ints) -> bool:
        """Return whether none of the counters *columns* is lower than in *earlier*."""
        if self.space is not earlier.space:
            return False
        values = np.zeros_like(earlier.values)
        if len(self.sample):
            position = np.minimum(np.searchsorted(self.sample, earlier.sample), len(self.sample) - 1)
            common = np.flatnonzero(self.sample[position] == earlier.sample)
            values[common] = self.values[position[common]]
        return bool((earlier.values[:, columns] <= values[:, columns]).all())

    def add_increase(self, earlier: "Counters | None", columns: Ints) -> None:
        """Add to the space by how much the counters *columns* are higher than in *earlier*, or than zero."""
        mask = np.zeros(self.values.shape[1], np.int64)
        mask[columns] = 1
        self.space.add(self.sample, self.values * mask)
        if earlier:
            self.space.add(earlier.sample, -earlier.values * mask)


class CounterReader:
    """Reads the counters of profiles. *is_counter* decides by the name of a sample type whether it may be one."""

    def __init__(self, limits: Limits, dropped_labels: Collection[str], is_counter: Callable[[str], bool]) -> None:
        self._limits = limits
        self._is_counter = is_counter
        self._first = Accumulator(None, dropped_labels)
        self._spaces: dict[_SpaceKey, Space] = {}

    def describe_left_out(self) -> str:
        """Return the end of a comment that says which labels are left out, or ``""``."""
        return describe_dropped(self._first.dropped)

    def spaces(self) -> list[Space]:
        """Return the spaces of all profiles that were read."""
        return list(self._spaces.values())

    def estimate_bytes(self) -> int:
        """Return about how much memory the stacks take."""
        return sum(space.content.estimate_bytes() for space in self._spaces.values())

    def read_profiles(
        self, profiles: Sequence[tuple[str, bytes, _AddedLabel]]
    ) -> Iterator[tuple[str, Counters | ProfbucketError]]:
        """Yield the counters of *profiles*, in any order, or their errors.

        A profile is a name, a pprof and a label that all its samples get, or ``None``.
        """
        pending = []
        for name, data, label in profiles:
            profile = PendingProfile(name, b"", added_label=self._first.intern_label(label))
            try:
                profile.raw = inflate(data, self._limits)
                split_profile(profile, self._first.strings, self._limits)
            except ProfbucketError as error:
                yield name, error
            else:
                pending.append(profile)
        errors: list[ProfbucketError] = []
        batch, readable = read_batch(pending, self._first.strings, self._limits, errors)
        for invalid in errors:
            yield str(invalid).partition(": ")[0], invalid
        if batch is None:
            return
        keys = _find_keys(batch)
        for key in dict.fromkeys(keys):
            part, members = batch, readable
            if len(set(keys)) > 1:
                members = [profile for profile, own in zip(readable, keys, strict=True) if own == key]
                alone, _ = read_batch(members, self._first.strings, self._limits, errors)
                if alone is None:
                    continue
                part = alone
            space = self._find_space(key)
            index = space.content.add(part)
            kept = np.flatnonzero(index >= 0)
            values = part.samples.values[kept]
            counts, sample, sums = sum_entries(part.samples.profile[kept], index[kept], values, len(members))
            for profile, begin, end in zip(members, to_offsets(counts), to_offsets(counts)[1:], strict=False):
                yield profile.name, _make_counters(space, sample[begin:end], sums[begin:end])

    def read_members(
        self, content: BlockContent, wanted: Collection[int], label: _AddedLabel = None
    ) -> Iterator[tuple[int, Counters]]:
        """Yield the counters of the *wanted* members of a block by row; all samples get the *label*, if any.

        Raise ``Invalid`` if the block is damaged.
        """
        rows = select_rows(content, content.read_profiles(), wanted)
        batch = read_merged(self._first, content, label)
        if len(rows):
            batch = batch._replace(header=narrow_header(batch.header, self._first.strings, rows))
        space = self._find_space(_find_keys(batch)[0])
        index = space.content.add(batch, keep_zeros=True)
        width = len(space.sample_types)
        if len(rows.sample) and (int(rows.sample.max()) >= len(index) or rows.values.shape[1] != width):
            raise damaged_row(content)
        row = np.repeat(np.arange(len(rows)), rows.count)
        counts, sample, values = sum_entries(row, index[rows.sample], rows.values, len(rows))
        offsets = to_offsets(counts)
        for number, begin, end in zip(rows.row.tolist(), offsets, offsets[1:], strict=False):
            yield number, _make_counters(space, sample[begin:end], values[begin:end])

    def _find_space(self, key: _SpaceKey) -> Space:
        if key not in self._spaces:
            content = self._first.fork() if self._spaces else self._first
            names = [content.string(name).decode(errors="replace") for name, _ in key[0]]
            counters = [number for number, name in enumerate(names) if self._is_counter(name)]
            self._spaces[key] = Space(content, names, counters)
        return self._spaces[key]


def _find_keys(batch: Batch) -> list[_SpaceKey]:
    """Return the space of each profile of *batch*."""
    signatures, index = batch.header.signatures()
    rules = batch.header.frame_rules()
    return [(signatures[number][0], own) for number, own in zip(index.tolist(), rules, strict=True)]


def _make_counters(space: Space, sample: Ints, values: Ints) -> Counters:
    """Return the counters among *values*; one below zero is none."""
    values = np.maximum(values[:, space.counters], 0)
    kept = np.flatnonzero(values.any(axis=1))
    return Counters(space, sample[kept], values[kept])
