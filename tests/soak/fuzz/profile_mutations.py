"""Mutations of real profiles: of their content, of their protobuf tree, of their bytes, of their compression."""

import gzip
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from random import Random

from profbucket.pprof import profile_pb2
from tests.soak.fuzz import wire
from tests.soak.numbered import DAY_BEGIN
from tests.support.paths import DATA

_HOUR = 3600 * 10**9

GO_ZERO_TIME = -6_795_364_578_871_345_152  # what Go's time.Time{}.UnixNano() is

# A control sequence, a bidirectional override, format characters, markup; all of it UTF-8.
ODD_TEXT = "\x00\x1b[2J\u202e\ud7ff%s%n'\"<script>\U0010ffff\r\n=:,".encode()

_INT64 = (0, 1, -1, 2**31, -(2**31), 2**53, 2**62, 2**63 - 1, 2**63 - 2, -(2**63), -(2**63) + 1)


@cache
def real_profiles() -> Sequence[tuple[str, bytes]]:
    """Return the pprofs of tests/data, inflated, each with the profile type that its file's name begins with."""
    profiles = []
    for file in sorted(DATA.glob("*/*.pb*")):
        data = file.read_bytes()
        raw = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        name = file.name.removeprefix("python-").partition(".")[0].partition("-")[0]
        profiles.append((name, raw))
    return profiles


@cache
def real_traces() -> Sequence[bytes]:
    """Return the execution traces of tests/data."""
    return [file.read_bytes() for file in sorted(DATA.glob("*/*.trace"))]


def mutated_profile(random: Random, raw: bytes) -> bytes:
    """Return *raw*, a valid profile within one day, with some of its content, tree and bytes changed."""
    message = profile_pb2.Profile.FromString(raw)
    message.time_nanos = DAY_BEGIN + random.randrange(20) * _HOUR // 4 + random.randrange(1000)
    roll = random.random()
    for _ in range(random.choice((0, 1, 1, 2, 4)) if roll < 0.8 else 0):
        random.choice(_CONTENT)(random, message)
    raw = message.SerializeToString()
    if 0.7 < roll < 0.95:
        raw = wire.mutate(random, raw)
    if roll > 0.92:
        raw = mutated_bytes(random, raw)
    return raw


def mutated_bytes(random: Random, data: bytes) -> bytes:
    """Return *data* with bits flipped, parts cut, repeated, swapped, zeroed or inserted."""
    for _ in range(random.choice((1, 1, 2, 5))):
        if not data:
            return random.choice((b"", b"\0", random.randbytes(20)))
        at = random.randrange(len(data))
        length = random.choice((1, 2, 8, 64, 1024))
        match random.randrange(8):
            case 0 | 1:
                data = data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
            case 2:
                data = data[: random.choice((at, 0, 1, 2, 10, len(data) - 1, len(data) - 8))]
            case 3:
                data = data[:at] + data[at + length :]
            case 4:
                data = data[:at] + data[at : at + length] * 2 + data[at + length :]
            case 5:
                data = data[:at] + random.randbytes(length) + data[at:]
            case 6:
                data = data[:at] + bytes(len(data[at : at + length])) + data[at + length :]
            case _:
                data = data[at:] + data[:at]
    return data


def compress(random: Random, raw: bytes) -> bytes:
    """Return *raw*, most often as a valid gzip of some level, else raw, or a gzip that is odd or broken."""
    data = gzip.compress(raw, random.randrange(10))
    cut = random.randrange(len(raw) + 1)
    match random.randrange(24):
        case 0 | 1:
            return raw
        case 2:  # several members
            return gzip.compress(raw[:cut], 1) + gzip.compress(b"") + gzip.compress(raw[cut:], 9)
        case 3:  # every optional field of the header
            head = b"\x1f\x8b\x08\x1c" + bytes(6) + b"\x05\x00extra" + b"name\0" + b"comment\0"
            data = head + data[10:]
        case 4:
            data = gzip.compress(data)
        case 5:
            data += random.choice((b"\0" * 100, b"garbage", data, data[:9]))
        case 6:
            data = data[: random.choice((-8, -4, -1, len(data) // 2, 10, 3))]
        case 7:
            at = random.choice((2, 3, len(data) - 8, len(data) - 4, random.randrange(len(data))))
            data = data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
        case 8:
            data = random.choice((zlib.compress(raw), *(magic + raw for magic in _OTHER_MAGIC)))
    return data


_OTHER_MAGIC = (b"\x28\xb5\x2f\xfd", b"\x1f\x9d", b"BZh9", b"\x04\x22\x4d\x18")  # zstd, compress, bzip2, lz4


def bomb(random: Random) -> bytes:
    """Return a small gzip that inflates to hundreds of megabytes: zeros, empty messages, or many members."""
    unit = random.choice((b"\0", b"\x12\0", b"\x22\0", b"\x32\0", b"\x0a\0", b"\x12\x02\x0a\0", b"\x32\x01a"))
    stream = zlib.compressobj(9, zlib.DEFLATED, 31)
    piece = unit * (1_000_000 // len(unit))
    data = b"".join(stream.compress(piece) for _ in range(random.choice((10, 100, 300)))) + stream.flush()
    return data if random.random() < 0.8 else data + data


def _set_values(random: Random, message: profile_pb2.Profile) -> None:
    for sample in random.choices(message.sample, k=3) if message.sample else ():
        for i in range(len(sample.value)):
            sample.value[i] = random.choice(_INT64)


def _set_times(random: Random, message: profile_pb2.Profile) -> None:
    times = (*_INT64, GO_ZERO_TIME, 10**9, 86400 * 10**9, 253_402_300_800 * 10**9 % 2**63)
    match random.randrange(3):
        case 0:
            message.time_nanos = random.choice(times)
        case 1:
            message.duration_nanos = random.choice(times)
        case _:
            message.period = random.choice(_INT64)


def _break_reference(random: Random, message: profile_pb2.Profile) -> None:
    """Let a reference name another thing, or nothing."""
    number = random.choice((0, 1, 2, 2**31, 2**63 - 1, random.randrange(1, 200)))
    match random.randrange(7):
        case 0 if message.sample:
            sample = random.choice(message.sample)
            if sample.location_id:
                sample.location_id[random.randrange(len(sample.location_id))] = number
        case 1 if message.location:
            random.choice(message.location).mapping_id = number
        case 2 if message.location:
            location = random.choice(message.location)
            if location.line:
                random.choice(location.line).function_id = number
        case 3 if message.location:
            random.choice(message.location).id = number
        case 4 if message.function:
            random.choice(message.function).id = number
        case 5 if message.function:
            random.choice(message.function).name = random.choice((0, -1, 2**40, len(message.string_table)))
        case _:
            if message.mapping:
                random.choice(message.mapping).id = number


def _change_sample_types(random: Random, message: profile_pb2.Profile) -> None:
    """Add, remove, reverse or rename sample types, with their values or without."""
    types = list(message.sample_type)
    match random.randrange(6):
        case 0:
            for number in range(random.choice((1, 12, 60, 70))):
                message.string_table.append(b"added-%d" % number)
                message.sample_type.add(type=len(message.string_table) - 1, unit=types[0].unit if types else 0)
                for sample in message.sample:
                    sample.value.append(random.choice((0, 1, number)))
        case 1 if types:
            del message.sample_type[-1]
            for sample in message.sample:
                del sample.value[-1:]
        case 2 if types:
            del message.sample_type[:]
            message.sample_type.extend(reversed(types))
            for sample in message.sample:
                values = list(sample.value)
                sample.value[:] = reversed(values)
        case 3 if types:
            units = (
                b"count",
                b"bytes",
                b"kB",
                b"MB",
                b"seconds",
                b"ms",
                b"ns",
                b"",
                b"x" * 5000,
                b"a=b:c,d%",
                ODD_TEXT,
            )
            message.string_table.append(random.choice(units))
            name = len(message.string_table) - 1
            setattr(random.choice(message.sample_type), random.choice(("type", "unit")), name)
        case 4 if types:
            message.sample_type.append(types[0])
            for sample in message.sample:
                sample.value.append(1)
        case _:
            del message.sample_type[:]


def _add_labels(random: Random, message: profile_pb2.Profile) -> None:
    """Give samples labels: of high cardinality, many at once, with odd keys and units."""
    keys = (b"span_id", b"span id", b"thread_id", b"end_timestamp_ns", b"custom", b"", b"bytes", b"x" * 3000)
    key = len(message.string_table)
    message.string_table.extend((random.choice(keys), b"unit", b"", b"value"))
    for number, sample in enumerate(message.sample):
        match random.randrange(4):
            case 0:
                message.string_table.append(b"%016x" % random.getrandbits(64))
                sample.label.add(key=key, str=len(message.string_table) - 1)
            case 1:
                sample.label.add(key=key, num=random.choice(_INT64), num_unit=random.choice((0, key + 1)))
            case 2:
                sample.label.add(key=key, str=key + 3, num=number)
            case _:
                sample.label.add(key=random.choice((key, 0, key + 2)))
    if message.sample and random.random() < 0.2:
        sample = random.choice(message.sample)
        for number in range(2000):
            sample.label.add(key=key, num=number + 1)


def _many_samples(random: Random, message: profile_pb2.Profile) -> None:
    """Add samples that are all distinct."""
    if not message.sample:
        return
    first = message.sample[0]
    message.string_table.append(b"span_id")
    key = len(message.string_table) - 1
    for number in range(random.choice((1000, 1000, 20_000))):
        sample = message.sample.add(location_id=first.location_id, value=first.value)
        sample.label.add(key=key, num=number + 1)


def _deep_stack(random: Random, message: profile_pb2.Profile) -> None:
    if message.sample and message.location:
        ids = [location.id for location in message.location]
        sample = random.choice(message.sample)
        sample.location_id.extend(random.choices(ids, k=random.choice((500, 5000, 100_000))))


def _inline_product(random: Random, message: profile_pb2.Profile) -> None:
    """Put a location with many lines into a stack many times: its frames are the product of both."""
    if not message.function or not message.sample:
        return
    lines, times = random.choice(((100, 100), (1000, 100), (100, 1000), (3000, 3000), (9000, 9000)))
    used = max((location.id for location in message.location), default=0) % 2**62
    location = message.location.add(id=used + 1)
    for number in range(lines):
        location.line.add(function_id=message.function[number % len(message.function)].id, line=number)
    random.choice(message.sample).location_id.extend([used + 1] * times)


def _set_addresses(random: Random, message: profile_pb2.Profile) -> None:
    extremes = (0, 1, 0x1000, 2**47, 2**63, 2**64 - 1)
    for location in random.choices(message.location, k=3) if message.location else ():
        location.address = random.choice(extremes)
    for mapping in message.mapping:
        for name in ("memory_start", "memory_limit", "file_offset"):
            if random.random() < 0.4:
                setattr(mapping, name, random.choice(extremes))


def _set_strings(random: Random, message: profile_pb2.Profile) -> None:
    texts = (b"", b"x" * 100_000, b"\0\x1b]0;title\x07", b"aaa", b"\xff\xfe", ODD_TEXT)
    for _ in range(3 if message.string_table else 0):
        message.string_table[random.randrange(len(message.string_table))] = random.choice(texts)


def _set_comments(random: Random, message: profile_pb2.Profile) -> None:
    message.comment.extend(random.choices((0, 1, -1, 2**40, len(message.string_table) - 1), k=3))
    message.drop_frames = message.keep_frames = random.choice((0, 1, 2))
    message.default_sample_type = random.choice((0, 1, 2**40))


def _empty(random: Random, message: profile_pb2.Profile) -> None:
    """Clear one of the repeated fields."""
    message.ClearField(
        random.choice(("sample", "location", "function", "mapping", "string_table", "sample_type", "period_type"))
    )


def _unpack_strings(random: Random, message: profile_pb2.Profile) -> None:
    """Add a hundred thousand short strings, used by nothing."""
    message.string_table.extend(b"s%d" % number for number in range(random.choice((1000, 100_000))))


def _keep(random: Random, message: profile_pb2.Profile) -> None:
    """Change nothing."""


_CONTENT: Sequence[Callable[[Random, profile_pb2.Profile], None]] = (
    *(_set_values, _set_values, _set_times, _set_times, _break_reference, _change_sample_types),
    *(
        _change_sample_types,
        _add_labels,
        _many_samples,
        _deep_stack,
        _inline_product,
        _inline_product,
        _set_addresses,
    ),
    *(_set_strings, _set_comments, _empty, _unpack_strings, _keep, _keep),
)
