"""The canonical form of a pprof: its content, whatever its encoding.

Two encoders number, order and split the same content differently. The canonical form has no ids, no order among
samples, no load addresses and no unused strings, so that merges can be compared with ``==``.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakValueDictionary

from profbucket.pprof import decode, profile_pb2

_PAGE_BYTES = 0x1000


class CanonicalMapping(NamedTuple):
    """A mapping, wherever it was loaded."""

    name: bytes  # build id or else file
    offset: int
    pages: int


class CanonicalFrame(NamedTuple):
    """A line of a location, with its function."""

    name: bytes
    system_name: bytes
    filename: bytes
    start_line: int
    line: int
    column: int


@dataclass(frozen=True, eq=False)
class CanonicalLocation:
    """A location; ``address`` is relative to the start of its mapping.

    Equal ones are the same object, so that comparing stacks costs little, however many lines their locations have.
    """

    mapping: CanonicalMapping | None
    address: int
    frames: tuple[CanonicalFrame, ...]
    is_folded: bool

    @classmethod
    def of(
        cls, mapping: CanonicalMapping | None, address: int, frames: tuple[CanonicalFrame, ...], is_folded: bool
    ) -> "CanonicalLocation":
        """Return the location with this content."""
        content = (mapping, address, frames, is_folded)
        return _LOCATIONS.setdefault(content, cls(*content))


_LOCATIONS = WeakValueDictionary[tuple[object, ...], CanonicalLocation]()


class CanonicalLabel(NamedTuple):
    """A label of a sample."""

    key: bytes
    text: bytes
    number: int
    unit: bytes


_SampleKey = tuple[tuple[CanonicalLocation, ...], tuple[CanonicalLabel, ...]]


@dataclass(frozen=True)
class Header:
    """The fields of the profile itself."""

    sample_types: tuple[tuple[bytes, bytes], ...]
    period_type: tuple[bytes, bytes]
    period: int
    time_nanos: int
    duration_nanos: int
    comments: tuple[bytes, ...]
    drop_frames: bytes
    keep_frames: bytes
    default_sample_type: bytes
    doc_url: bytes


@dataclass(frozen=True)
class Canonical:
    """All that a merge must preserve. Samples with the same stack and labels are added up; zeros are kept."""

    header: Header
    samples: dict[_SampleKey, tuple[int, ...]]


def canonicalize(data: bytes) -> Canonical:
    """Return the canonical form of a valid pprof, gzip or raw."""
    message = decode(data).message
    strings = list(message.string_table)
    locations = _list_locations(message, strings)
    sums: dict[_SampleKey, list[int]] = defaultdict(lambda: [0] * len(message.sample_type))
    for sample in message.sample:
        values = sums[tuple(locations[i] for i in sample.location_id), _list_labels(sample, strings)]
        for i, value in enumerate(sample.value):
            values[i] += value
    header = Header(
        sample_types=tuple((strings[t.type], strings[t.unit]) for t in message.sample_type),
        period_type=(strings[message.period_type.type], strings[message.period_type.unit]),
        period=message.period,
        time_nanos=message.time_nanos,
        duration_nanos=message.duration_nanos,
        comments=tuple(strings[i] for i in message.comment),
        drop_frames=strings[message.drop_frames],
        keep_frames=strings[message.keep_frames],
        default_sample_type=strings[message.default_sample_type],
        doc_url=strings[message.doc_url],
    )
    return Canonical(header, {sample: tuple(values) for sample, values in sums.items()})


def list_mappings(data: bytes) -> dict[CanonicalMapping, tuple[int, int, bytes, bytes, tuple[bool, ...]]]:
    """Return start, limit, file, build id and flags of each mapping; no two may have the same canonical form."""
    message = decode(data).message
    strings = list(message.string_table)
    mappings: dict[CanonicalMapping, tuple[int, int, bytes, bytes, tuple[bool, ...]]] = {}
    for m in message.mapping:
        flags = (m.has_functions, m.has_filenames, m.has_line_numbers, m.has_inline_frames)
        base = (m.memory_start, m.memory_limit, strings[m.filename], strings[m.build_id], flags)
        assert mappings.setdefault(_to_mapping(m, strings), base) is base, "the same mapping twice"
    return mappings


def assert_compact(data: bytes) -> None:
    """Check that nothing in *data* is duplicate, unused or zero, as after a merge by google/pprof."""
    message = decode(data).message
    strings = list(message.string_table)
    assert len(set(strings)) == len(strings), "a duplicate string"
    locations = _list_locations(message, strings)
    # Here, no mapping differs from an empty one.
    distinct = {(location.mapping_id, locations[location.id]) for location in message.location}
    assert len(distinct) == len(message.location), "a duplicate location"
    functions = _list_functions(message, strings)
    assert len(set(functions.values())) == len(functions), "a duplicate function"
    samples = [(tuple(s.location_id), _list_labels(s, strings)) for s in message.sample]
    assert len(set(samples)) == len(samples), "a duplicate sample"
    assert all(any(s.value) for s in message.sample), "a sample of zeros"
    assert {i for s in message.sample for i in s.location_id} == set(locations), "an unused location"
    used = {n.function_id for location in message.location for n in location.line}
    assert used == set(functions), "an unused function"


def _list_functions(
    message: profile_pb2.Profile, strings: list[bytes]
) -> dict[int, tuple[bytes, bytes, bytes, int]]:
    """Return name, system name, file and start line by id."""
    return {
        f.id: (strings[f.name], strings[f.system_name], strings[f.filename], f.start_line)
        for f in message.function
    }


def _list_locations(message: profile_pb2.Profile, strings: list[bytes]) -> dict[int, CanonicalLocation]:
    functions = _list_functions(message, strings)
    mappings = {m.id: (_to_mapping(m, strings), m.memory_start) for m in message.mapping}
    mappings[0] = (CanonicalMapping(b"", 0, 0), 0)
    locations = {}
    for location in message.location:
        mapping, start = mappings[location.mapping_id]
        locations[location.id] = CanonicalLocation.of(
            # go tool pprof adds an empty mapping to a profile without mappings.
            mapping if mapping != (b"", 0, 0) else None,
            (location.address - start) % 2**64,
            tuple(CanonicalFrame(*functions[n.function_id], n.line, n.column) for n in location.line),
            location.is_folded,
        )
    return locations


def _to_mapping(m: profile_pb2.Mapping, strings: list[bytes]) -> CanonicalMapping:
    return CanonicalMapping(
        strings[m.build_id] or strings[m.filename],
        m.file_offset,
        (m.memory_limit - m.memory_start + _PAGE_BYTES - 1) % 2**64 // _PAGE_BYTES,
    )


def _list_labels(sample: profile_pb2.Sample, strings: list[bytes]) -> tuple[CanonicalLabel, ...]:
    """Return the labels that have a value: texts before numbers, keys sorted, values of a key in their order."""
    labels = [CanonicalLabel(strings[n.key], strings[n.str], n.num, strings[n.num_unit]) for n in sample.label]
    return tuple(
        sorted((label for label in labels if any(label[1:])), key=lambda label: (not label.text, label.key))
    )
