"""Encode the content of an accumulator as one profile."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np

from profbucket.pprof import wire
from profbucket.pprof.columnar.accumulator import Accumulator
from profbucket.pprof.columnar.arrays import Words, flatnonzero, to_offsets
from profbucket.pprof.columnar.select import (
    Functions,
    Labels,
    Locations,
    Mappings,
    Samples,
    select_functions,
    select_labels,
    select_locations,
    select_mappings,
    select_samples,
)
from profbucket.pprof.columnar.varint_writer import (
    FieldWriter,
    measure_prefixes,
    measure_varints,
    write_prefixes,
    write_varints,
)
from profbucket.pprof.wire import encode_delimited, encode_scalars, encode_varint


def encode_merge(accumulator: Accumulator, comments: Sequence[bytes], *, keep_zeros: bool = False) -> bytes:
    """Return the protobuf of what *accumulator* holds, without what no sample uses; *comments* come first.

    With *keep_zeros* it includes samples that have added up to zero: sample i is then that of the accumulator.
    """
    tags = wire.Profile
    sample_types, period_type = accumulator.signature or ((), (0, 0))
    samples = select_samples(accumulator, keep_zeros)
    locations = select_locations(accumulator, samples)
    mappings = select_mappings(accumulator, locations)
    functions = select_functions(accumulator, locations)
    labels = select_labels(accumulator, samples)
    comment = [*dict.fromkeys([*map(accumulator.strings.intern, comments), *accumulator.comments])]
    default, doc = accumulator.default_sample_type(), accumulator.header_strings[1]
    header_strings = [*accumulator.frame_rules, default, doc]
    single_strings = [*chain.from_iterable((*sample_types, period_type)), *header_strings, *comment]
    strings = _select_strings(accumulator, single_strings, mappings, functions, labels)
    drop_frames, keep_frames, default_sample_type, doc_url = map(strings.id, header_strings)
    parts = [
        b"".join(_encode_value_type(tags.SAMPLE_TYPE, pair, strings) for pair in sample_types),
        _encode_samples(samples, locations, labels, strings),
        _encode_mappings(accumulator, mappings, strings),
        _encode_locations(accumulator, locations, mappings, functions),
        _encode_functions(accumulator, functions, strings),
        strings.encoded,
        encode_scalars((tags.DROP_FRAMES, tags.KEEP_FRAMES), (drop_frames, keep_frames)),
        encode_scalars(
            (tags.TIME_NANOS, tags.DURATION_NANOS), (accumulator.time_nanos, accumulator.duration_nanos)
        ),
        _encode_value_type(tags.PERIOD_TYPE, period_type, strings),
        encode_scalars((tags.PERIOD,), (accumulator.period,)),
        b"".join(bytes([tags.COMMENT]) + encode_varint(strings.id(index)) for index in comment),
        encode_scalars((tags.DEFAULT_SAMPLE_TYPE, tags.DOC_URL), (default_sample_type, doc_url)),
    ]
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class _Strings:
    ids: Words  # of all in the accumulator: their positions in the result's string table
    encoded: bytes

    def id(self, index: int) -> int:
        return int(self.ids[index])


def _select_strings(
    accumulator: Accumulator,
    single_strings: Sequence[int],
    mappings: Mappings,
    functions: Functions,
    labels: Labels,
) -> _Strings:
    table = accumulator.strings
    is_used = np.zeros(len(table), bool)
    is_used[0] = True
    is_used[single_strings] = True
    for i in mappings.indexes:
        is_used[[table.intern(text) for text in accumulator.mapping_bases[i][3:]]] = True
    for column in (functions.name, functions.system_name, functions.file, labels.key, labels.text, labels.unit):
        is_used[column] = True
    indexes = flatnonzero(is_used)
    ids = np.zeros(len(is_used), np.uint64)
    ids[indexes] = np.arange(len(indexes))
    texts = list(map(list(table).__getitem__, indexes.tolist()))
    prefixes = map(_encode_string_prefix, map(len, texts))
    return _Strings(ids, b"".join(chain.from_iterable(zip(prefixes, texts, strict=True))))


def _encode_samples(samples: Samples, locations: Locations, labels: Labels, strings: _Strings) -> bytes:
    width = samples.values.shape[1]
    # From the inside out: measure every part …
    ids = locations.ids[samples.stack_location]
    id_offsets = to_offsets(measure_varints(ids))
    stack_offsets = to_offsets(samples.stack_count)
    stack_size = np.diff(id_offsets[stack_offsets])
    stack_prefix = np.where(stack_size > 0, measure_prefixes(stack_size), 0)
    values = samples.values.ravel().view(np.uint64)
    value_offsets = to_offsets(measure_varints(values))
    value_size = np.diff(value_offsets[::width])
    value_prefix = measure_prefixes(value_size)
    label_fields = FieldWriter(
        (wire.Label.KEY, strings.ids[labels.key]),
        (wire.Label.STR, strings.ids[labels.text]),
        (wire.Label.NUM, labels.number),
        (wire.Label.NUM_UNIT, strings.ids[labels.unit]),
    )
    label_prefix = measure_prefixes(label_fields.size)
    label_offsets = to_offsets(label_fields.size + label_prefix)
    sample_label_offsets = label_offsets[to_offsets(samples.label_count)]
    size = stack_prefix + stack_size + value_prefix + value_size + np.diff(sample_label_offsets)
    prefix = measure_prefixes(size)
    offsets = to_offsets(size + prefix)
    # … and from the outside in: write it.
    out = np.empty(int(offsets[-1]), np.uint8)
    at = offsets[:-1]
    write_prefixes(out, at, wire.Profile.SAMPLE, size)
    at = at + prefix
    rows = flatnonzero(stack_size)
    write_prefixes(out, at[rows], wire.Sample.LOCATION_ID_PACKED, stack_size[rows])
    at += stack_prefix
    id_at = id_offsets[:-1] + np.repeat(at - id_offsets[stack_offsets[:-1]], samples.stack_count)
    write_varints(out, id_at, ids)
    at += stack_size
    write_prefixes(out, at, wire.Sample.VALUE_PACKED, value_size)
    at += value_prefix
    write_varints(out, value_offsets[:-1] + np.repeat(at - value_offsets[:-1:width], width), values)
    at += value_size
    if len(samples.label):
        label_at = label_offsets[:-1] + np.repeat(at - sample_label_offsets[:-1], samples.label_count)
        write_prefixes(out, label_at, wire.Sample.LABEL, label_fields.size)
        label_fields.write(out, label_at + label_prefix)
    return out.tobytes()


def _encode_mappings(accumulator: Accumulator, mappings: Mappings, strings: _Strings) -> bytes:
    messages = []
    for mapping_id, i in enumerate(mappings.indexes, 1):
        start, limit, offset, *texts = accumulator.mapping_bases[i]
        string_ids = (strings.id(accumulator.strings.intern(text)) for text in texts)
        values = (mapping_id, start, limit, offset, *string_ids, *accumulator.mapping_flags[i].tolist())
        messages.append(encode_delimited(wire.Profile.MAPPING, encode_scalars(wire.Mapping.SCALARS, values)))
    return b"".join(messages)


def _encode_locations(
    accumulator: Accumulator, locations: Locations, mappings: Mappings, functions: Functions
) -> bytes:
    start = np.array([0, *(base[0] for base in accumulator.mapping_bases)], np.uint64)
    fields = FieldWriter(
        (wire.Location.ID, locations.ids[locations.index]),
        (wire.Location.MAPPING_ID, mappings.ids[locations.mapping]),
        (wire.Location.ADDRESS, accumulator.locations.column(1)[locations.index] + start[locations.mapping]),
        (wire.Location.IS_FOLDED, locations.is_folded),
    )
    line_fields = FieldWriter(
        (wire.Line.FUNCTION_ID, functions.ids[locations.line_function]),
        (wire.Line.LINE, locations.line_number),
        (wire.Line.COLUMN, locations.line_column),
    )
    line_prefix = measure_prefixes(line_fields.size)
    line_offsets = to_offsets(line_fields.size + line_prefix)
    location_line_offsets = line_offsets[to_offsets(locations.line_count)]
    size = fields.size + np.diff(location_line_offsets)
    offsets = to_offsets(size + measure_prefixes(size))
    out = np.empty(int(offsets[-1]), np.uint8)
    write_prefixes(out, offsets[:-1], wire.Profile.LOCATION, size)
    at = offsets[1:] - size
    fields.write(out, at)
    line_at = line_offsets[:-1] + np.repeat(at + fields.size - location_line_offsets[:-1], locations.line_count)
    write_prefixes(out, line_at, wire.Location.LINE, line_fields.size)
    line_fields.write(out, line_at + line_prefix)
    return out.tobytes()


def _encode_functions(accumulator: Accumulator, functions: Functions, strings: _Strings) -> bytes:
    fields = FieldWriter(
        (wire.Function.ID, functions.ids[functions.index]),
        (wire.Function.NAME, strings.ids[functions.name]),
        (wire.Function.SYSTEM_NAME, strings.ids[functions.system_name]),
        (wire.Function.FILENAME, strings.ids[functions.file]),
        (wire.Function.START_LINE, accumulator.functions.column(2)[functions.index]),
    )
    offsets = to_offsets(fields.size + measure_prefixes(fields.size))
    out = np.empty(int(offsets[-1]), np.uint8)
    write_prefixes(out, offsets[:-1], wire.Profile.FUNCTION, fields.size)
    fields.write(out, offsets[1:] - fields.size)
    return out.tobytes()


@lru_cache(1 << 12)
def _encode_string_prefix(length: int) -> bytes:
    """Return tag and length of a string in the string table."""
    return bytes([wire.Profile.STRING_TABLE]) + encode_varint(length)


def _encode_value_type(tag: int, pair: Sequence[int], strings: _Strings) -> bytes:
    return encode_delimited(tag, encode_scalars(wire.ValueType.SCALARS, map(strings.id, pair)))
