"""A protobuf message as a tree of fields that can be changed in ways that no protobuf library writes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

VARINT, FIXED64, BYTES, START_GROUP, END_GROUP, FIXED32 = range(6)

# Fields of pprof's messages that hold messages.
_MESSAGES: Mapping[str, Mapping[int, str]] = {
    "Profile": {1: "ValueType", 2: "Sample", 3: "Mapping", 4: "Location", 5: "Function", 11: "ValueType"},
    "Sample": {3: "Label"},
    "Location": {4: "Line"},
}

EXTREMES = (
    *(0, 1, 2, 3, 7, 127, 128, 255, 2**14, 2**20, 10**18),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64 - 2, 2**64 - 10**9),
)


@dataclass(slots=True)
class Field:
    """A field: *value* is a number, bytes, or a list of fields. *lie* is added to the length that is written."""

    number: int
    wire_type: int
    value: "int | bytes | list[Field]"
    message: str = ""
    lie: int = 0
    padding: int = 0  # bytes that a varint is longer than it needs to be


def varint(number: int, padding: int = 0) -> bytes:
    """Return *number* modulo 2**64 in *padding* bytes more than it needs."""
    number %= 2**64
    out = bytearray()
    while number > 127 or padding > 0:
        padding -= number <= 127
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def parse(data: bytes, message: str = "Profile") -> list[Field]:
    """Return the fields of a valid message."""
    fields, position = [], 0

    def read() -> int:
        nonlocal position
        number = shift = 0
        while True:
            byte = data[position]
            position += 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    while position < len(data):
        tag = read()
        number, wire_type = tag >> 3, tag & 7
        if wire_type == VARINT:
            fields.append(Field(number, wire_type, read()))
            continue
        size = {FIXED64: 8, FIXED32: 4}.get(wire_type)
        size = read() if size is None else size
        content = data[position : position + size]
        position += size
        kind = _MESSAGES.get(message, {}).get(number, "")
        fields.append(Field(number, wire_type, parse(content, kind) if kind else content, kind))
    return fields


def serialize(fields: Sequence[Field]) -> bytes:
    """Return the bytes of *fields*."""
    return b"".join(map(_serialize, fields))


def _serialize(one: Field) -> bytes:
    tag = varint(one.number << 3 | one.wire_type & 7)
    value = one.value
    if isinstance(value, int):
        match one.wire_type:
            case 1:  # FIXED64
                return tag + value.to_bytes(16, "little")[:8]
            case 5:  # FIXED32
                return tag + value.to_bytes(16, "little")[:4]
        return tag + varint(value, one.padding)
    body = value if isinstance(value, bytes) else serialize(value)
    if one.wire_type == START_GROUP:
        return tag + body + varint(one.number << 3 | END_GROUP)
    if one.wire_type != BYTES:
        return tag + body
    return tag + varint(len(body) + one.lie, one.padding) + body


def mutate(random: Random, data: bytes) -> bytes:
    """Return *data*, a valid profile, with one to six fields of its tree changed."""
    fields = parse(data)
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        if not fields:
            break
        parent = fields
        while True:
            index = random.randrange(len(parent))
            child = parent[index].value
            if not isinstance(child, list) or not child or random.random() < 0.3:
                break
            parent = child
        random.choice(_OPERATIONS)(random, fields, parent, index)
    return serialize(fields)


def _delete(random: Random, root: list[Field], parent: list[Field], index: int) -> None:
    del parent[index]


def _repeat(random: Random, root: list[Field], parent: list[Field], index: int) -> None:
    parent[index:index] = [parent[index]] * random.choice((1, 1, 2, 50, 2000))


def _swap(random: Random, root: list[Field], parent: list[Field], index: int) -> None:
    other = random.randrange(len(parent))
    parent[index], parent[other] = parent[other], parent[index]


def _move(random: Random, root: list[Field], parent: list[Field], index: int) -> None:
    """Move a field into another message, or to the front or the end of its own."""
    moved = parent.pop(index)
    others = [one.value for one in root if isinstance(one.value, list)]
    targets = [parent, *(fields for fields in others if not _holds(moved, fields))]
    target = random.choice(targets)
    target.insert(random.choice((0, len(target))), moved)


def _holds(one: Field, fields: list[Field]) -> bool:
    """Return whether *fields* are within *one*, which may be repeated elsewhere."""
    return isinstance(one.value, list) and (
        one.value is fields or any(_holds(child, fields) for child in one.value)
    )


def _renumber(random: Random, root: list[Field], parent: list[Field], index: int) -> None:
    number = parent[index].number
    choices = (number - 1, number + 1, random.randrange(16), 0, 2001, 2002, 2003, 2**29 - 1, 2**40)
    parent[index].number = max(random.choice(choices), 0)


def _retype(random: Random, root: list[Field], parent: list[Field], index: int) -> None:
    parent[index].wire_type = random.randrange(8)


def _set_number(random: Random, root: list[Field], parent: list[Field], index: int) -> None:
    one = parent[index]
    if isinstance(one.value, int):
        one.value = random.choice((*EXTREMES, one.value + 1, one.value * 2, random.getrandbits(64)))
    elif isinstance(one.value, bytes):  # packed numbers, or a text
        numbers = random.choices(EXTREMES, k=random.choice((0, 1, 2, 3, 40)))
        one.value = b"".join(varint(number) for number in numbers)
    else:
        one.value = []


def _set_bytes(random: Random, root: list[Field], parent: list[Field], index: int) -> None:
    one = parent[index]
    body = one.value if isinstance(one.value, bytes) else random.randbytes(9)
    one.wire_type = BYTES
    one.value = random.choice(
        (b"", body[: len(body) // 2], body + b"\x80", random.randbytes(20), b"\xff" * 11, body * 100, _ODD_TEXT)
    )


def _pad(random: Random, root: list[Field], parent: list[Field], index: int) -> None:
    parent[index].padding = random.choice((1, 4, 9, 12))


def _lie(random: Random, root: list[Field], parent: list[Field], index: int) -> None:
    parent[index].lie = random.choice((-1, 1, 5, 2**20, 2**31, 2**32, 2**63, -(2**62)))


def _nest(random: Random, root: list[Field], parent: list[Field], index: int) -> None:
    one = parent[index]
    for _ in range(random.choice((1, 2, 99, 101, 5000))):
        one = Field(one.number, random.choice((BYTES, START_GROUP)), _serialize(one))
    parent[index] = one


_ODD_TEXT = "\x00\x1b[2J\u202e\ud7ff%s%n'\"<script>\U0010ffff\r\n".encode()

_Operation = Callable[[Random, list[Field], list[Field], int], None]
_OPERATIONS: Sequence[_Operation] = (
    *(_delete, _repeat, _swap, _move, _renumber, _retype, _set_number, _set_number, _set_number, _set_bytes),
    *(_pad, _lie, _nest),
)
