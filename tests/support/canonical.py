"""What a pprof says, apart from how it says it.

Two encoders number, order and split the same content differently. The canonical form has no ids, no order among
samples, no bases of mappings and no strings that nothing refers to, so that merges can be compared with ``==``.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

from profbucket.pprof import decode, profile_pb2

_PAGE = 0x1000


class Binary(NamedTuple):
    """A mapping, wherever it was loaded."""

    name: bytes  # build id, or else file
    offset: int
    pages: int


class Frame(NamedTuple):
    name: bytes
    system_name: bytes
    filename: bytes
    start_line: int
    line: int
    column: int


class Place(NamedTuple):
    """A location; ``address`` counts from the start of its mapping."""

    binary: Binary | None
    address: int
    frames: tuple[Frame, ...]
    is_folded: bool


class Tag(NamedTuple):
    """One value of a label."""

    key: bytes
    text: bytes
    number: int
    unit: bytes


_Sample = tuple[tuple[Place, ...], tuple[Tag, ...]]


@dataclass(frozen=True)
class Header:
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
    """All that a merge must preserve. Samples of the same stack and labels are added up; zeros stay."""

    header: Header
    samples: dict[_Sample, tuple[int, ...]]


def canonical(data: bytes) -> Canonical:
    """The canonical form of a pprof, gzip or raw, read with ids and references checked."""
    message = decode(data).message
    text = list(message.string_table)
    places = _places(message, text)
    sums: dict[_Sample, list[int]] = defaultdict(lambda: [0] * len(message.sample_type))
    for sample in message.sample:
        values = sums[tuple(places[i] for i in sample.location_id), _tags(sample, text)]
        for i, value in enumerate(sample.value):
            values[i] += value
    header = Header(
        sample_types=tuple((text[t.type], text[t.unit]) for t in message.sample_type),
        period_type=(text[message.period_type.type], text[message.period_type.unit]),
        period=message.period,
        time_nanos=message.time_nanos,
        duration_nanos=message.duration_nanos,
        comments=tuple(text[i] for i in message.comment),
        drop_frames=text[message.drop_frames],
        keep_frames=text[message.keep_frames],
        default_sample_type=text[message.default_sample_type],
        doc_url=text[message.doc_url],
    )
    return Canonical(header, {sample: tuple(values) for sample, values in sums.items()})


def bases(data: bytes) -> dict[Binary, tuple[int, int, bytes, bytes, tuple[bool, ...]]]:
    """Start, limit, file, build id and flags of each mapping, of which there must be one a binary."""
    message = decode(data).message
    text = list(message.string_table)
    found: dict[Binary, tuple[int, int, bytes, bytes, tuple[bool, ...]]] = {}
    for m in message.mapping:
        flags = (m.has_functions, m.has_filenames, m.has_line_numbers, m.has_inline_frames)
        base = (m.memory_start, m.memory_limit, text[m.filename], text[m.build_id], flags)
        assert found.setdefault(_binary(m, text), base) is base, "two mappings of one binary"
    return found


def assert_compact(data: bytes) -> None:
    """Nothing in *data* is there twice, unused or zero, as google/pprof leaves it after a merge."""
    message = decode(data).message
    text = list(message.string_table)
    assert len(set(text)) == len(text), "a string twice"
    places = _places(message, text)
    # No mapping and an empty one are told apart here.
    distinct = {(location.mapping_id, places[location.id]) for location in message.location}
    assert len(distinct) == len(message.location), "a location twice"
    functions = [(text[f.name], text[f.system_name], text[f.filename], f.start_line) for f in message.function]
    assert len(set(functions)) == len(functions), "a function twice"
    samples = [(tuple(s.location_id), _tags(s, text)) for s in message.sample]
    assert len(set(samples)) == len(samples), "a sample twice"
    assert all(any(s.value) for s in message.sample), "a sample of zeros"
    assert {i for s in message.sample for i in s.location_id} == set(places), "a location that no sample uses"
    used = {n.function_id for place in message.location for n in place.line}
    assert used == {f.id for f in message.function}, "a function that no location uses"


def _places(message: profile_pb2.Profile, text: list[bytes]) -> dict[int, Place]:
    functions = {
        f.id: (text[f.name], text[f.system_name], text[f.filename], f.start_line) for f in message.function
    }
    mappings = {m.id: (_binary(m, text), m.memory_start) for m in message.mapping}
    mappings[0] = (Binary(b"", 0, 0), 0)
    places = {}
    for location in message.location:
        binary, start = mappings[location.mapping_id]
        places[location.id] = Place(
            # Go's tool gives a profile without mappings an empty one.
            binary if binary != (b"", 0, 0) else None,
            (location.address - start) % 2**64,
            tuple(Frame(*functions[n.function_id], n.line, n.column) for n in location.line),
            location.is_folded,
        )
    return places


def _binary(m: profile_pb2.Mapping, text: list[bytes]) -> Binary:
    return Binary(
        text[m.build_id] or text[m.filename],
        m.file_offset,
        (m.memory_limit - m.memory_start + _PAGE - 1) % 2**64 // _PAGE,
    )


def _tags(sample: profile_pb2.Sample, text: list[bytes]) -> tuple[Tag, ...]:
    """Text before numbers, keys in order, the values of a key as they came; a label that says nothing is none."""
    tags = [Tag(text[n.key], text[n.str], n.num, text[n.num_unit]) for n in sample.label]
    return tuple(sorted((t for t in tags if any(t[1:])), key=lambda t: (not t.text, t.key)))
