"""Damage to the files of a directory storage: objects, their metadata, batches, blocks and member lists."""

import gzip
import json
import sqlite3
import struct
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from tests.soak.fuzz.profile_mutations import mutated_bytes
from tests.soak.fuzz.wire import BYTES, Field, parse, serialize
from tests.support.storage.local_files import read_metadata, write_metadata

_METAS_PART = 1  # of a block: the second
_METAS_FIELD = 2001
_CHECKS = struct.Struct(">16sI8s")  # at the end of a batch


def object_files(root: Path, service: str) -> list[Path]:
    """Return the files of the profiles of *service*, in the order of keys."""
    return sorted(file for file in (root / service).rglob("*") if _is_object(file))


def batch_files(root: Path, service: str) -> list[Path]:
    """Return the files of the batches of *service*, in the order of keys."""
    return [file for file in object_files(root, service) if file.suffix == ".batch"]


def block_files(root: Path, service: str) -> list[Path]:
    """Return the files of the blocks of *service*, in the order of keys."""
    return sorted(file for file in (root / "_" / "blocks" / service).rglob("*") if _is_object(file))


def _is_object(file: Path) -> bool:
    return file.is_file() and not file.name.startswith(".")


def damage_object(random: Random, files: Sequence[Path]) -> str:
    """Damage the content of one of *files*, or of two, and say what was done."""
    files = [file for file in files if file.exists()]
    if not files:
        return "nothing is left"
    file, other = random.choice(files), random.choice(files)
    data = file.read_bytes()
    match random.randrange(8):
        case 0:
            file.write_bytes(other.read_bytes())
            other.write_bytes(data)
            done = f"swapped the content with that of {other.name}"
        case 1:
            file.write_bytes(b"")
            done = "emptied"
        case 2:
            cut = max(random.choice((1, len(data) // 2, len(data) - 1, len(data) - 8)), 0)
            file.write_bytes(data[:cut])
            done = f"cut after {cut} bytes"
        case 3:
            file.write_bytes(random.randbytes(len(data)))
            done = "overwrote with random bytes"
        case 4:
            file.write_bytes(bytes(len(data)))
            done = "overwrote with zeros"
        case 5:
            file.unlink()
            done = "removed"
        case _:
            file.write_bytes(mutated_bytes(random, data))
            done = "mutated the bytes"
    return f"{file.name}: {done}"


def damage_metadata(random: Random, files: Sequence[Path]) -> str:
    """Damage the metadata of one of *files* and say what was done."""
    existing = [file for file in files if file.exists()]
    if not existing:
        return "nothing is left"
    file = random.choice(existing)
    data = read_metadata(file)
    match random.randrange(6):
        case 0:
            write_metadata(file, None)
            return f"removed the metadata of {file.name}"
        case 1:
            new = random.choice((b"", data[: len(data) // 2], data[:-1], b"\0" * len(data), b"\xff\xfe"))
        case 2:
            new = random.choice(_ODD_JSON)
        case 3:
            new = mutated_bytes(random, data)
        case _:
            try:
                new = json.dumps(edited_json(random, json.loads(data))).encode()
            except _DAMAGED:  # damaged before
                new = b"{}"
    write_metadata(file, new)
    return f"set the metadata of {file.name} to {new[:300]!r}"


def damage_block(random: Random, files: Sequence[Path]) -> str:
    """Damage one of the blocks *files*: its bytes, the order of its parts, or its list of members."""
    file = random.choice(files)
    try:
        data = file.read_bytes()
        ends = [int(end) for end in json.loads(read_metadata(file))["ends"].split(",")]
        parts = [data[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
        bodies = [gzip.decompress(part) for part in parts]
        [members] = parse(bodies[_METAS_PART])
        content = json.loads(members.value if isinstance(members.value, bytes) else b"")
    except (*_DAMAGED, OSError, EOFError, zlib.error):  # damaged before
        return damage_object(random, files)
    i, j = random.sample(range(len(parts)), 2)
    adapt_ends = random.random() < 0.7
    match random.randrange(7):
        case 0:
            return damage_object(random, files)
        case 1:
            parts[i], parts[j] = parts[j], parts[i]
            done = f"swapped the parts {i} and {j}"
        case 2:
            parts[i] = mutated_bytes(random, parts[i])
            done = f"mutated part {i}"
        case 3:
            parts[i] = gzip.compress(mutated_bytes(random, bodies[i]))
            done = f"mutated the inflated part {i}"
        case _:
            for _ in range(random.choice((1, 1, 3))):
                content = edited_json(random, content)
            text = json.dumps(content).encode()
            parts[_METAS_PART] = gzip.compress(serialize([Field(_METAS_FIELD, BYTES, text)]))
            done = f"edited the list of members to {text[:2000].decode()}"
    _replace_parts(file, parts, adapt_ends=adapt_ends)
    return f"{file.name}: {done}{', and its ends' if adapt_ends else ''}"


def damage_batch(random: Random, files: Sequence[Path]) -> str:
    """Damage one of the batches *files*: its bytes, or its table, whose checksum is right then."""
    file = random.choice(files)
    data = file.read_bytes() if file.exists() else b""
    try:
        _, size, magic = _CHECKS.unpack(data[-_CHECKS.size :])
        table_begin = len(data) - _CHECKS.size - size
        columns = [json.loads(text) for text in json.loads(zlib.decompress(data[table_begin : -_CHECKS.size]))]
    except (*_DAMAGED, struct.error, zlib.error):  # damaged before
        return damage_object(random, files)
    match random.randrange(6):
        case 0:
            table = zlib.compress(random.choice(_ODD_JSON))
            done = "edited the table to other JSON"
        case 1 | 2:
            for _ in range(random.choice((1, 1, 3))):
                columns = edited_json(random, columns)
            texts = [json.dumps(column) for column in columns] if isinstance(columns, list) else columns
            table = zlib.compress(json.dumps(texts).encode())
            done = f"edited the table to {str(columns)[:2000]}"
        case 3:
            table = mutated_bytes(random, data[table_begin : -_CHECKS.size])
            done = "edited the bytes of the table"
        case _:
            return damage_object(random, files)
    checks = _CHECKS.pack(sha256(table).digest()[:16], len(table), magic)
    file.write_bytes(data[:table_begin] + table + checks)
    return f"{file.name}: {done}"


def damage_index(random: Random, file: Path) -> str:
    """Overwrite bytes of a SQLite *file* that nothing has open, or values of one of its tables."""
    if random.random() < 0.5:
        data = bytearray(file.read_bytes())
        for _ in range(random.choice((1, 5, 50))):
            at = random.randrange(100, len(data))
            data[at : at + 4] = random.randbytes(len(data[at : at + 4]))
        file.write_bytes(data)
        return f"{file.name}: overwrote bytes"
    try:
        return _damage_table(random, file)
    except sqlite3.Error as e:  # a constraint, or a file whose bytes were overwritten before
        return f"{file.name}: set nothing ({e})"


def _damage_table(random: Random, file: Path) -> str:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        table = random.choice([name for name in tables if not name.startswith("sqlite_")])
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        column, value = random.choice(columns), random.choice(_ODD_SQL_VALUES)
        connection.execute(f"UPDATE OR IGNORE {table} SET {column} = ? WHERE rowid % 2 = 0", (value,))
    return f"{file.name}: set {table}.{column} of every second row to {value!r}"


_DAMAGED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
_ODD_SQL_VALUES: Sequence[Any] = (
    "",
    "x",
    "[",
    "[1]",
    '[["a"]]',
    "null",
    b"\xff",
    0,
    -1,
    2**63 - 1,
    1.5,
    "a=b",
    "cpu",
)


def _replace_parts(file: Path, parts: Sequence[bytes], *, adapt_ends: bool) -> None:
    """Write a block, and where its parts end into its metadata, which reindex takes over."""
    file.write_bytes(b"".join(parts))
    if adapt_ends:
        metadata = json.loads(read_metadata(file))
        ends = [sum(map(len, parts[: i + 1])) for i in range(len(parts))]
        metadata["ends"] = ",".join(map(str, ends))
        write_metadata(file, json.dumps(metadata).encode())


_ODD_JSON: Sequence[bytes] = (
    *(
        b"[]",
        b"null",
        b'"x"',
        b"3",
        b"{",
        b"{}",
        b'{"labels": 3}',
        b'{"labels": null, "totals": null}',
        b"[" * 100_000,
    ),
    *(
        b'{"labels": "a"}',
        b'{"labels": "=,=,"}',
        b'{"labels": "a=%ff"}',
        b'{"totals": "x"}',
        b'{"totals": "a:b=1,a:b=2"}',
    ),
    *(
        b'{"totals": "a:b=' + b"9" * 39 + b'"}',
        b'{"labels": "a=\\u0000"}',
        b"NaN",
        b"1e999",
        b'{"a": ' * 5000,
        b"\xef\xbb\xbf{}",
    ),
    *(b'{"ends": "1,2,3,4", "first": "1"}', b'{"labels": "a=b", "digest": "x"}', b'{"labels": "\\ud800=b"}'),
)

_ODD_VALUES: Sequence[Any] = (
    *(
        None,
        True,
        "",
        "x",
        "-1",
        "9" * 25,
        "1" * 5000,
        "1,2,3",
        "\x00",
        "\ud800",
        [],
        {},
        [[]],
        [None],
        0,
        -1,
        0.5,
    ),
    *(1e308, 2**31, 2**63 - 1, 2**63, 2**64, 10**30, -(2**63), "99999999999999999", "cpu", "a=b", "a=b,a=c"),
)


def edited_json(random: Random, value: Any) -> Any:
    """Return *value* with one of its parts removed, repeated, moved or replaced."""
    if isinstance(value, dict) and value:
        key, other = random.choice(sorted(value)), random.choice(sorted(value))
        match random.randrange(5):
            case 0:
                value = {name: one for name, one in value.items() if name != key}
            case 1:
                value = {**value, key: value[other], other: value[key]}
            case _:
                value = {**value, key: edited_json(random, value[key])}
    elif isinstance(value, list) and value and random.random() < 0.9:
        index = random.randrange(len(value))
        edits: Sequence[Callable[[], list[Any]]] = (
            lambda: value[:index] + value[index + 1 :],
            lambda: [*value, value[index]],
            lambda: value[::-1],
            lambda: value[:index],
            lambda: [*value[:index], edited_json(random, value[index]), *value[index + 1 :]],
            lambda: [*value[:index], edited_json(random, value[index]), *value[index + 1 :]],
        )
        value = random.choice(edits)()
    elif isinstance(value, int) and random.random() < 0.6:
        value += random.choice((1, -1, 1000, -1000, 10**9))
    elif isinstance(value, str) and value and random.random() < 0.5:
        at = random.randrange(len(value))
        value = value[:at] + random.choice("0,=%:x9-") + value[at + 1 :]
    else:
        value = random.choice(_ODD_VALUES)
    return value
