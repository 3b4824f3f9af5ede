"""Validate a profile of the usual kind by columns, at a fraction of the cost of reading its messages in Python.

Protobuf reads all messages of one type into one list for each field (``columns.proto``), and Python checks the
lists. A mark behind each message tells whether it was well-formed by itself: it is where the next field begins.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from profbucket.limits import Limits
from profbucket.model.meta import Total
from profbucket.pprof import columns_pb2, profile_pb2, wire
from profbucket.pprof.numbers import wrap_int64
from profbucket.pprof.validate import to_text

# Behind a message that is no sample: a field of its own. All other fields are varints, and so is the length of a
# line, so that tags and numbers alternate. If a message ends within a field, 0 or an unknown field follows.
_MARK_TAG = wire.scalar_tag(15)
_MARK = bytes([_MARK_TAG, 0])
_FIRST_TAG = wire.scalar_tag(1)
_BETWEEN_MESSAGES = bytes([_MARK_TAG, _FIRST_TAG])
_CONTINUATION_BYTES = bytes(range(128, 256))

# Behind a sample: a field of its own, then a value. Both are random, so that no profile contains them, and longer
# than a tag can be. If packed numbers of a sample reach to the value, they contain the field before it.
_SAMPLE_MARK_BYTES = bytes(byte | 0x80 for byte in os.urandom(9)) + b"\x01"
_SAMPLE_MARK = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(_SAMPLE_MARK_BYTES))
_VALUE_MARK = wrap_int64(_SAMPLE_MARK)
_SAMPLE_MARK_FIELDS = bytes([_MARK_TAG]) + _SAMPLE_MARK_BYTES + bytes([wire.Sample.VALUE]) + _SAMPLE_MARK_BYTES

_MAPPING_TAGS = bytes([*wire.Mapping.SCALARS, _MARK_TAG])
_FUNCTION_TAGS = bytes([*wire.Function.SCALARS, _MARK_TAG])
_LINE_TAGS = bytes([*wire.Line.SCALARS, _MARK_TAG])
_LOCATION_TAGS = bytes([*wire.Location.SCALARS, wire.Location.LINE, *_LINE_TAGS])
_LABEL_TAGS = bytes([*wire.Label.SCALARS, _MARK_TAG])

# What is read at once: the Python objects of a large profile's numbers would be larger than the profile.
_MESSAGES = 1000
_JOINED_BYTES = 1 << 20

_Columns = TypeVar(
    "_Columns",
    columns_pb2.Mappings,
    columns_pb2.Functions,
    columns_pb2.Locations,
    columns_pb2.Lines,
    columns_pb2.Labels,
)


class Summary(NamedTuple):
    """The part of a valid profile to store: ``totals`` are the sums of its samples, one for each sample type."""

    totals: tuple[Total, ...]
    time_nanos: int
    has_samples: bool


class _Uncommon(Exception):
    """The profile is not of the usual kind, or is invalid."""


def summarize(raw: bytes, limits: Limits) -> Summary | None:
    """Return the summary of the pprof *raw* if it is certainly valid, by the rules of ``validate``.

    Others may be valid, too: those with unknown fields, with a field that is repeated where one counts, or with
    very long samples.
    """
    try:
        return _summarize(columns_pb2.Profile.FromString(raw), limits)
    except (DecodeError, _Uncommon):
        return None


def _summarize(profile: columns_pb2.Profile, limits: Limits) -> Summary:
    strings, width = profile.string_table, len(profile.sample_type)
    _require_known_fields(profile)
    _require(0 < width <= limits.sample_types)
    _require(len(strings) > 0 and not strings[0])
    _require(len(profile.period_type) <= 1 and len(profile.comment) <= _MESSAGES)
    _require_strings(
        len(strings),
        profile.comment[:],
        (profile.drop_frames, profile.keep_frames, profile.default_sample_type, profile.doc_url),
    )
    for message in profile.period_type:
        _read_value_type(message, len(strings))
    indexes = [_read_value_type(message, len(strings)) for message in profile.sample_type]
    names = [(to_text(strings[kind]), to_text(strings[unit])) for kind, unit in indexes]
    _require(sum(len(name.encode()) for pair in names for name in pair) <= limits.name_bytes)
    _check_mappings(profile.mapping, len(strings))
    function_ids = _collect_functions(profile.function, len(strings))
    location_ids = _collect_locations(profile.location, function_ids)
    sums = _sum_samples(profile.sample, width, location_ids, len(strings))
    totals = tuple(Total(*pair, wrap_int64(value)) for pair, value in zip(names, sums, strict=True))
    return Summary(totals, profile.time_nanos, len(profile.sample) > 0)


def _check_mappings(messages: Sequence[bytes], string_count: int) -> None:
    ids = list[int]()
    for mappings in _read(columns_pb2.Mappings, _MAPPING_TAGS, messages):
        ids += mappings.id[:]
        _require_strings(string_count, mappings.filename[:], mappings.build_id[:])
    _to_id_set(ids, len(messages))


def _collect_functions(messages: Sequence[bytes], string_count: int) -> set[int]:
    """Check functions and return their ids."""
    ids = list[int]()
    for functions in _read(columns_pb2.Functions, _FUNCTION_TAGS, messages):
        ids += functions.id[:]
        _require_strings(string_count, functions.name[:], functions.system_name[:], functions.filename[:])
    return _to_id_set(ids, len(messages))


def _collect_locations(messages: Sequence[bytes], function_ids: set[int]) -> set[int]:
    """Check locations and return their ids."""
    ids = list[int]()
    for locations in _read(columns_pb2.Locations, _LOCATION_TAGS, messages):
        ids += locations.id[:]
        for lines in _read(columns_pb2.Lines, _LINE_TAGS, locations.line):
            line_function_ids = lines.function_id[:]
            _require(len(line_function_ids) == len(lines.mark) and function_ids.issuperset(line_function_ids))
    return _to_id_set(ids, len(messages))


def _to_id_set(ids: list[int], count: int) -> set[int]:
    """Return *ids*, of *count* messages that have at least one each, if they are different and not 0."""
    id_set = set(ids)
    _require(len(ids) == len(id_set) == count and 0 not in id_set)
    return id_set


def _sum_samples(messages: Sequence[bytes], width: int, location_ids: set[int], string_count: int) -> list[int]:
    """Check samples and return the sums of their *width* values."""
    sums = [0] * width
    for begin, joined in zip(
        range(0, len(messages), _MESSAGES), _join(messages, _SAMPLE_MARK_FIELDS), strict=True
    ):
        samples = columns_pb2.Samples.FromString(joined)
        _require_known_fields(samples)
        _require(samples.mark[:] == [_SAMPLE_MARK] * min(len(messages) - begin, _MESSAGES))
        _require(location_ids.issuperset(samples.location_id[:]))
        values = samples.value[:]
        marks = values[width :: width + 1]
        _require(len(values) == (width + 1) * len(marks) == (width + 1) * marks.count(_VALUE_MARK))
        sums = [sum(values[column :: width + 1], before) for column, before in enumerate(sums)]
        for labels in _read(columns_pb2.Labels, _LABEL_TAGS, samples.label):
            _require_strings(string_count, labels.key[:], labels.str[:], labels.num_unit[:])
    return sums


def _read(columns_type: type[_Columns], known_tags: bytes, messages: Sequence[bytes]) -> Iterator[_Columns]:
    """Yield the columns of *messages*, some at a time; each message is well-formed and begins with its field 1.

    *known_tags* are those of the messages, their lines and the mark.
    """
    for joined in _join(messages, _MARK):
        tags = joined.translate(None, _CONTINUATION_BYTES)[::2]
        _require(not tags.translate(None, known_tags))
        columns = columns_type.FromString(joined)
        _require_known_fields(columns)
        count = len(columns.mark)
        _require(tags.count(_MARK_TAG) == count == 1 + tags.count(_BETWEEN_MESSAGES))
        _require(tags[0] == _FIRST_TAG)
        yield columns


def _join(messages: Sequence[bytes], mark: bytes) -> Iterator[bytes]:
    """Yield *messages* joined, some at a time, with *mark* behind each."""
    for begin in range(0, len(messages), _MESSAGES):
        joined = mark.join([*messages[begin : begin + _MESSAGES], b""])
        _require(len(joined) <= _JOINED_BYTES)
        yield joined


def _read_value_type(message: bytes, string_count: int) -> tuple[int, int]:
    value_type = profile_pb2.ValueType.FromString(message)
    _require_known_fields(value_type)
    _require(0 <= value_type.type < string_count and 0 <= value_type.unit < string_count)
    return value_type.type, value_type.unit


def _require_strings(count: int, *columns: Iterable[int]) -> None:
    """Require that all in *columns* are indexes of one of *count* strings."""
    for column in columns:
        _require(max(column, default=0) < count)  # without sign, a negative number is a large one


def _require_known_fields(message: Message) -> None:
    _require(not len(UnknownFieldSet(message)))


def _require(condition: bool) -> None:
    if not condition:
        raise _Uncommon
