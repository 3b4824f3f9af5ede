"""Profiles as other encoders write them: a model of the content, and a :class:`Style` for the encoding.

Every profile is valid. The protobuf is encoded by hand, to differ from what a protobuf library does: fields in any
order, repeated numbers packed or not or both, ids from the whole range, duplicate strings, unknown fields.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from hypothesis import strategies as st

from profbucket.pprof import deflate
from profbucket.pprof.wire import delimited_tag, encode_varint, scalar_tag

T = TypeVar("T")


@dataclass(frozen=True)
class Function:
    name: bytes
    system_name: bytes = b""
    filename: bytes = b""
    start_line: int = 0


@dataclass(frozen=True)
class Mapping:
    start: int
    limit: int
    offset: int = 0
    file: bytes = b""
    build_id: bytes = b""
    flags: tuple[bool, bool, bool, bool] = (True, True, True, False)


@dataclass(frozen=True)
class Line:
    function: Function
    line: int = 0
    column: int = 0


@dataclass(frozen=True)
class Location:
    mapping: Mapping | None = None
    address: int = 0
    lines: tuple[Line, ...] = ()
    is_folded: bool = False


@dataclass(frozen=True)
class Label:
    key: bytes
    text: bytes = b""
    number: int = 0
    unit: bytes = b""


@dataclass(frozen=True)
class Sample:
    stack: tuple[Location, ...]
    values: tuple[int, ...]
    labels: tuple[Label, ...] = ()


@dataclass(frozen=True)
class Profile:
    samples: tuple[Sample, ...] = ()
    sample_types: tuple[tuple[bytes, bytes], ...] = ((b"samples", b"count"), (b"cpu", b"nanoseconds"))
    period_type: tuple[bytes, bytes] = (b"cpu", b"nanoseconds")
    period: int = 10_000_000
    time_nanos: int = 1_700_000_000_000_000_000
    duration_nanos: int = 1_000_000_000
    comments: tuple[bytes, ...] = ()
    drop_frames: bytes = b""
    keep_frames: bytes = b""
    default_sample_type: bytes = b""
    doc_url: bytes = b""
    unused: tuple[Location, ...] = ()  # locations that no sample refers to


@dataclass(frozen=True)
class Style:
    """The style of an encoder; *seed* makes all other choices."""

    packed: str = "as Go"  # or "always", "never", "half": the first half packed, the others one by one
    ids: str = "dense"  # or "sparse", "reversed", "huge"
    shuffled_fields: bool = False
    shuffled_messages: bool = False
    unknown_fields: bool = False
    repeated_scalars: bool = False  # fields are written twice: the last value counts
    strings_twice: bool = False
    empty_twice: bool = False  # also the empty string, which Go takes for a text if it is a label's second one
    zeros: bool = False  # fields are written even if they are 0
    long_varints: bool = False  # varints have more bytes than they need
    gzip: bool = True
    seed: int = 0


def function(name: str, filename: str = "main.go", start_line: int = 1) -> Function:
    return Function(name.encode(), name.encode(), filename.encode(), start_line)


def stack(*names: str) -> tuple[Location, ...]:
    """Return a stack of functions with these *names*, leaf first, without addresses."""
    return tuple(Location(lines=(Line(function(name), 10),)) for name in names)


def profile(*samples: Sample, **changes: Any) -> Profile:
    return replace(Profile(samples), **changes)


def encode(content: Profile, style: Style = Style()) -> bytes:
    """Return *content* as a pprof in this *style*."""
    raw = _Encoder(content, style).encode()
    return deflate(raw) if style.gzip else raw


class _Encoder:
    def __init__(self, content: Profile, style: Style) -> None:
        self.content, self.style = content, style
        self.random = random.Random(style.seed)
        locations = dict.fromkeys([x for s in content.samples for x in s.stack] + list(content.unused))
        functions = dict.fromkeys(n.function for x in locations for n in x.lines)
        mappings = dict.fromkeys(x.mapping for x in locations if x.mapping)
        self.location_ids = self.assign_ids(locations)
        self.function_ids = self.assign_ids(functions)
        self.mapping_ids = self.assign_ids(mappings)
        self.table: list[bytes] = [b""]

    def assign_ids(self, items: Iterable[T]) -> dict[T, int]:
        keys = list(items)
        ids = {
            "dense": range(1, len(keys) + 1),
            "reversed": range(len(keys), 0, -1),
            "sparse": self.random.sample(range(1, 5 * len(keys) + 10), len(keys)),
            "huge": [2**64 - 1 - 3 * i for i in range(len(keys))],
        }[self.style.ids]
        return dict(zip(keys, ids, strict=True))

    def string(self, text: bytes) -> int:
        twice = self.style.strings_twice if text else self.style.empty_twice
        if text in self.table and not (twice and self.random.random() < 0.5):
            return self.table.index(text)
        self.table.append(text)
        return len(self.table) - 1

    def number(self, value: int) -> bytes:
        out = encode_varint(value)
        if self.style.long_varints and len(out) < 9 and self.random.random() < 0.3:
            out = out[:-1] + bytes([out[-1] | 128]) + b"\x80" * self.random.randrange(8 - len(out) + 1) + b"\0"
        return out

    def scalar(self, field_number: int, value: int) -> list[bytes]:
        if not value and not self.style.zeros:
            return []
        out = bytes([scalar_tag(field_number)]) + self.number(value)
        if self.style.repeated_scalars and self.random.random() < 0.3:
            # One piece, so that shuffling cannot put the wrong value last.
            out = bytes([scalar_tag(field_number)]) + self.number(self.random.randrange(1, 1000)) + out
        return [out]

    def once(self, field_number: int, value: int) -> list[bytes]:
        return [bytes([scalar_tag(field_number)]) + encode_varint(value)] if value or self.style.zeros else []

    def bytes_field(self, field_number: int, value: bytes) -> list[bytes]:
        # Protobuf rejects padded lengths.
        return [bytes([delimited_tag(field_number)]) + encode_varint(len(value)) + value]

    def numbers(self, field_number: int, values: Sequence[int]) -> list[bytes]:
        """Return a repeated number as one piece, because its order must be kept."""
        n = len(values)
        cut = {"always": n, "never": 0, "half": n // 2, "as Go": n if n > 2 else 0}[self.style.packed]
        pieces = []
        if cut:
            pieces += self.bytes_field(field_number, b"".join(map(self.number, values[:cut])))
        pieces += [bytes([scalar_tag(field_number)]) + self.number(value) for value in values[cut:]]
        return [b"".join(pieces)]

    def message(self, pieces: list[bytes], unused: int = 0) -> bytes:
        """Return a message of these fields; *unused* is a field number that the format does not use there."""
        if self.style.shuffled_fields:
            self.random.shuffle(pieces)
        if self.style.unknown_fields and unused and self.random.random() < 0.5:
            unknown = self.random.choice(
                [
                    encode_varint(unused << 3) + encode_varint(self.random.getrandbits(60)),
                    encode_varint(unused << 3 | 1) + self.random.randbytes(8),
                    encode_varint(unused << 3 | 2) + b"\x05\x22\x80\x0a\x08\x12",
                    encode_varint(unused << 3 | 5) + b"\x0a\x12\x22\x2a",
                ]
            )
            pieces.insert(self.random.randrange(len(pieces) + 1), unknown)
        return b"".join(pieces)

    def encode(self) -> bytes:
        content, style = self.content, self.style
        groups = [
            self.repeated(1, [self.value_type(*t) for t in content.sample_types]),
            self.repeated(2, [self.sample(s) for s in content.samples]),
            self.repeated(3, [self.mapping(m, i) for m, i in self.mapping_ids.items()], shuffle=False),
            self.repeated(4, [self.location(x, i) for x, i in self.location_ids.items()]),
            self.repeated(5, [self.function(f, i) for f, i in self.function_ids.items()]),
            self.scalar(7, self.string(content.drop_frames)),
            self.scalar(8, self.string(content.keep_frames)),
            self.once(9, content.time_nanos),  # Go takes a repeated time for a second profile
            self.scalar(10, content.duration_nanos),
            self.bytes_field(11, self.value_type(*content.period_type)),
            self.scalar(12, content.period),
            self.numbers(13, [self.string(c) for c in content.comments]) if content.comments else [],
            self.scalar(14, self.string(content.default_sample_type)),
            self.scalar(15, self.string(content.doc_url)),
        ]
        # Last, when all strings are known; shuffling may move it.
        groups.append([piece for text in self.table for piece in self.bytes_field(6, text)])
        if style.shuffled_fields:
            self.random.shuffle(groups)
        pieces = [piece for group in groups for piece in group]
        if style.shuffled_messages:
            pieces = _riffle(groups, self.random)
        return self.message(pieces if not style.shuffled_fields else [b"".join(pieces)], unused=19)

    def repeated(self, field_number: int, messages: list[bytes], *, shuffle: bool = True) -> list[bytes]:
        if shuffle and self.style.shuffled_messages and field_number in (4, 5):
            self.random.shuffle(messages)
        return [piece for message in messages for piece in self.bytes_field(field_number, message)]

    def value_type(self, name: bytes, unit: bytes) -> bytes:
        return self.message([*self.scalar(1, self.string(name)), *self.scalar(2, self.string(unit))], 3)

    def sample(self, sample: Sample) -> bytes:
        pieces = []
        if sample.stack:
            pieces += self.numbers(1, [self.location_ids[x] for x in sample.stack])
        pieces += self.numbers(2, sample.values)
        labels = [piece for label in sample.labels for piece in self.bytes_field(3, self.label(label))]
        return self.message([*pieces, b"".join(labels)], 5)

    def label(self, label: Label) -> bytes:
        pieces = [*self.scalar(1, self.string(label.key)), *self.scalar(2, self.string(label.text))]
        pieces += [*self.scalar(3, label.number), *self.scalar(4, self.string(label.unit))]
        return self.message(pieces, 9)

    def mapping(self, mapping: Mapping, number: int) -> bytes:
        numbers = [number, mapping.start, mapping.limit, mapping.offset]
        numbers += [self.string(mapping.file), self.string(mapping.build_id), *mapping.flags]
        return self.message([p for i, value in enumerate(numbers) for p in self.scalar(i + 1, value)], 14)

    def location(self, location: Location, number: int) -> bytes:
        mapping = self.mapping_ids[location.mapping] if location.mapping else 0
        pieces = [*self.scalar(1, number), *self.scalar(2, mapping), *self.scalar(3, location.address)]
        lines = [self.bytes_field(4, self.line(line)) for line in location.lines]
        pieces += [b"".join(piece for line in lines for piece in line), *self.scalar(5, location.is_folded)]
        return self.message(pieces, 6)

    def line(self, line: Line) -> bytes:
        pieces = [*self.scalar(1, self.function_ids[line.function])]
        pieces += [*self.scalar(2, line.line), *self.scalar(3, line.column)]
        return self.message(pieces, 4)

    def function(self, function: Function, number: int) -> bytes:
        strings = [self.string(s) for s in (function.name, function.system_name, function.filename)]
        numbers = [number, *strings, function.start_line]
        return self.message([p for i, value in enumerate(numbers) for p in self.scalar(i + 1, value)], 6)


def _riffle(groups: list[list[bytes]], choice: random.Random) -> list[bytes]:
    """Return the pieces of all *groups* mixed, those of each group in their order."""
    turns = [i for i, group in enumerate(groups) for _ in group]
    choice.shuffle(turns)
    iterators = [iter(group) for group in groups]
    return [next(iterators[i]) for i in turns]


_NAMES = [b"main", b"runtime.mallocgc", b"f", b"g", b"", b"\xff\xfe not utf-8", "größe".encode(), b"[kernel]"]
_INT64 = st.integers(-(2**63), 2**63 - 1)

texts = st.sampled_from(_NAMES) | st.binary(max_size=12)
functions = st.builds(
    Function, texts, texts, texts, st.sampled_from([0, 1, 77, 300]) | st.integers(0, 2**63 - 1) | _INT64
)


@st.composite
def mappings(draw: Callable[..., Any]) -> Mapping:
    """Generate one of a few mappings at one of a few load addresses, so that equal mappings occur."""
    file, build_id, size, offset = draw(
        st.sampled_from(
            [
                (b"/bin/shop", b"b1", 0x10000, 0),
                (b"/bin/shop", b"b2", 0x10000, 0),
                (b"/other/shop", b"b1", 0x10000 - 5, 0),
                (b"/lib/libc.so.6", b"", 0x3000, 0x1000),
                (b"/lib/libc.so.6", b"", 0x3000, 0x4000),
                (b"[vdso]", b"", 0x2000, 0),
                (b"", b"", 0, 0),
            ]
        )
    )
    start = draw(st.sampled_from([0, 0x400000, 0x7F0000000000, 2**64 - 0x20000])) if size else 0
    flags = draw(st.tuples(*[st.booleans()] * 4))
    return Mapping(start, start + size, offset, file, build_id, flags)


@st.composite
def locations(draw: Callable[..., Any], columns: bool, known: list[Mapping]) -> Location:
    lines = draw(
        st.lists(
            st.builds(
                Line,
                functions,
                st.integers(-1, 2**63 - 1) | st.integers(0, 300),
                st.integers(0, 300) if columns else st.just(0),
            ),
            max_size=4,
        )
    )
    mapping = draw(st.sampled_from([None, *known])) if known else None
    start = mapping.start if mapping else 0
    offset = draw(st.sampled_from([0, 1, 0x10, 0x1234]) | st.integers(0, 2**64 - 1))
    folded = draw(st.booleans()) and draw(st.booleans())
    return Location(mapping, (start + offset) % 2**64, tuple(lines), folded)


labels = st.builds(Label, texts, text=st.sampled_from([b"", b"a", b"b", b"\xff"])) | st.builds(
    Label, texts, number=st.integers(0, 9) | _INT64, unit=st.sampled_from([b"", b"bytes", b"ms"])
)
values = st.integers(-3, 1000) | st.integers(-(2**50), 2**50)
go_styles = st.builds(
    Style,
    packed=st.sampled_from(["as Go", "always", "never", "half"]),
    ids=st.sampled_from(["dense", "sparse", "reversed", "huge"]),
    shuffled_fields=st.booleans(),
    shuffled_messages=st.booleans(),
    unknown_fields=st.booleans(),
    repeated_scalars=st.booleans(),
    strings_twice=st.booleans(),
    zeros=st.booleans(),
    long_varints=st.booleans(),
    gzip=st.booleans(),
    seed=st.integers(0, 2**32),
)
styles = st.builds(replace, go_styles, empty_twice=st.booleans())


@st.composite
def profile_sets(draw: Callable[..., Any], *, columns: bool = True, headers: bool = True) -> list[Profile]:
    """Generate up to six profiles that can be merged and share much of their content.

    Without *columns* and *headers* they have nothing in which this merge differs from Go's on purpose.
    """
    width = draw(st.integers(1, 4))
    types = tuple((b"t%d" % i, draw(st.sampled_from([b"count", b"bytes", b"\xfe"]))) for i in range(width))
    known_mappings = draw(
        st.lists(mappings(), max_size=4, unique_by=lambda m: (m.start, m.file, m.build_id, m.offset))
    )
    known_locations = draw(st.lists(locations(columns, known_mappings), min_size=1, max_size=8))
    stacks = draw(
        st.lists(st.lists(st.sampled_from(known_locations), max_size=6).map(tuple), min_size=1, max_size=6)
    )
    label_sets = draw(st.lists(st.lists(labels, max_size=3).map(tuple), min_size=1, max_size=3))
    samples = st.builds(
        Sample,
        st.sampled_from(stacks),
        st.tuples(*[values] * width) | st.just((0,) * width),
        st.sampled_from(label_sets),
    )
    header = {
        "period": st.integers(0, 2**40),
        "time_nanos": st.integers(7 * 86400 * 10**9, 2**62) | st.just(0 if headers else 2**60),
        "duration_nanos": st.integers(0, 2**40),
        "comments": st.lists(texts, max_size=3).map(tuple),
    }
    if headers:
        header |= dict.fromkeys(("drop_frames", "keep_frames", "default_sample_type", "doc_url"), texts)
    profiles = st.builds(
        Profile,
        st.lists(samples, max_size=8).map(tuple),
        sample_types=st.just(types),
        period_type=st.just((b"cpu", b"ns")),
        unused=st.lists(st.sampled_from(known_locations), max_size=2).map(tuple),
        **header,
    )
    drawn: list[Profile] = draw(st.lists(profiles, min_size=1, max_size=6))
    return drawn


_UNITS = (
    (b"ns", b"nanoseconds", b"microseconds", b"ms", b"seconds"),
    (b"bytes", b"B", b"kB", b"megabytes"),
    (b"count",),
    (b"",),
)


@st.composite
def mixed_profile_sets(draw: Callable[..., Any], *, headers: bool = True) -> list[Profile]:
    """Generate profiles as :func:`profile_sets` does, which differ in order, number and units of sample types.

    All of them have the first sample type, and values that can be scaled without loss.
    """
    drawn = draw(profile_sets(columns=False, headers=headers))
    width = len(drawn[0].sample_types)
    families = draw(st.lists(st.sampled_from(_UNITS), min_size=width, max_size=width))
    mixed = []
    for content in drawn:
        columns = [0, *draw(st.lists(st.integers(1, width - 1), unique=True))] if width > 1 else [0]
        columns = draw(st.permutations(columns))
        period_unit = draw(st.sampled_from(_UNITS[0]))
        samples = [
            replace(sample, values=tuple(sample.values[column] % 2001 - 1000 for column in columns))
            for sample in content.samples
        ]
        mixed.append(
            replace(
                content,
                samples=tuple(samples),
                sample_types=tuple((b"t%d" % i, draw(st.sampled_from(families[i]))) for i in columns),
                period_type=(b"cpu", period_unit),
                period=content.period % 10**6,
            )
        )
    return mixed
