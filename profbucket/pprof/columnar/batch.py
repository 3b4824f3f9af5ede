"""The columns of a batch: some profiles end to end, checked, with every reference resolved to a row.

Strings are indexes in the merge's string table. A batch has P profiles, M mappings, F functions, L locations, N
lines, S samples and B labels.
"""

from typing import NamedTuple, TypeAlias

import numpy as np

from profbucket.pprof.columnar.arrays import Bools, Ints, Words

# What a profile measures, in strings: type and unit of each sample type, and of the period type.
Signature: TypeAlias = tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]

# Strings: drop_frames and keep_frames.
FrameRules: TypeAlias = tuple[int, int]


class HeaderColumns(NamedTuple):
    """The fields of the profiles themselves."""

    drop_frames: Ints  # strings, (P,)
    keep_frames: Ints  # strings, (P,)
    default_sample_type: Ints  # strings, (P,)
    doc_url: Ints  # strings, (P,)
    time_nanos: Ints  # 0 if unknown, never negative, (P,)
    duration_nanos: Ints  # never negative, (P,)
    period: Ints  # (P,)
    period_type: Ints  # strings: type and unit, (P, 2)
    sample_type_count: Ints  # (P,)
    sample_types: Ints  # strings: type and unit, those of all profiles end to end, (sum of counts, 2)
    comment: Ints  # strings, those of all profiles end to end, (comments,)
    comment_profile: Ints  # the profile of each comment, (comments,)

    def signatures(self) -> tuple[list[Signature], Ints]:
        """Return the distinct signatures, in the order of the profiles, and the index of each profile's, (P,)."""
        count = len(self.period)
        width = int(self.sample_type_count[0])
        if (self.sample_type_count == width).all() and (self.period_type == self.period_type[0]).all():
            types = self.sample_types.reshape(count, 2 * width)
            if (types == types[0]).all():
                sample_types = tuple(map(tuple, self.sample_types[:width].tolist()))
                return [(sample_types, tuple(self.period_type[0].tolist()))], np.zeros(count, np.int64)
        ends = self.sample_type_count.cumsum().tolist()
        pairs = list(map(tuple, self.sample_types.tolist()))
        indexes: dict[Signature, int] = {}
        index = [
            indexes.setdefault((tuple(pairs[end - width : end]), tuple(period_type)), len(indexes))
            for end, width, period_type in zip(
                ends, self.sample_type_count.tolist(), self.period_type.tolist(), strict=True
            )
        ]
        return list(indexes), np.array(index, np.int64)

    def frame_rules(self) -> list[FrameRules]:
        """Return which frames each profile asks to drop."""
        return list(zip(self.drop_frames.tolist(), self.keep_frames.tolist(), strict=True))


class MappingColumns(NamedTuple):
    """The mappings, those of each profile in their order."""

    profile: Ints  # (M,)
    start: Words  # (M,)
    limit: Words  # (M,)
    offset: Words  # (M,)
    file: Ints  # strings, (M,)
    build_id: Ints  # strings, (M,)
    flags: Bools  # has_functions, has_filenames, has_line_numbers, has_inline_frames, (M, 4)


class FunctionColumns(NamedTuple):
    """The functions."""

    name: Ints  # strings, (F,)
    system_name: Ints  # strings, (F,)
    file: Ints  # strings, (F,)
    start_line: Words  # (F,)


class LocationColumns(NamedTuple):
    """The locations and their lines, those of all locations end to end."""

    mapping: Ints  # rows of mappings, -1 for none, (L,)
    address: Words  # (L,)
    is_folded: Bools  # (L,)
    line_count: Ints  # (L,)
    line_function: Ints  # rows of functions, (N,)
    line_number: Words  # (N,)
    line_column: Words  # (N,)


class SampleColumns(NamedTuple):
    """The samples, with their stacks and labels.

    The stack of sample i is the ``stack_count[i]`` elements of ``stack_location`` from ``stack_first[i]`` on. The
    elements between stacks mean nothing, and at least one of them precedes each stack.
    """

    profile: Ints  # (S,)
    values: Ints  # 0 where a profile has fewer sample types than another, (S, most sample types)
    stack_first: Ints  # (S,)
    stack_count: Ints  # (S,)
    stack_location: Ints  # rows of locations, leaf first
    label_sample: Ints  # rows of samples, (B,)
    label_key: Ints  # strings, (B,)
    label_text: Ints  # strings, (B,)
    label_number: Words  # (B,)
    label_unit: Ints  # strings, (B,)


class Batch(NamedTuple):
    """Some profiles as columns; they have passed all checks of ``validate`` but the limits of sample types."""

    header: HeaderColumns
    mappings: MappingColumns
    functions: FunctionColumns
    locations: LocationColumns
    samples: SampleColumns
