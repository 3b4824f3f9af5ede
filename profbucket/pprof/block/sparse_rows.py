"""Sparse matrices that keep many profiles apart: which samples of their merge each has, with which values.

The encoding is the length of a JSON document, the document, which lists the columns, and the columns, each as an
array of the narrowest type that holds it.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.pprof.block.container import decode_part, encode_part
from profbucket.pprof.columnar.arrays import Bools, Ints, to_offsets
from profbucket.pprof.numbers import MAX_INT64

_ARRAY_TYPES: dict[str, np.dtype[Any]] = {
    "u1": np.dtype("<u1"),
    "u2": np.dtype("<u2"),
    "u4": np.dtype("<u4"),
    "i8": np.dtype("<i8"),
}
_LENGTH_BYTES = 8
_TIMING_COLUMNS = 3


@dataclass(frozen=True, slots=True)
class ProfileHeader:
    """The strings in a profile's header."""

    strings: tuple[bytes, ...]  # drop_frames, keep_frames, default_sample_type, doc_url
    comments: tuple[bytes, ...]


@dataclass(slots=True)
class SparseRows:
    """Some rows of a sparse matrix, CSR-like: R rows, E entries. A row is a profile or a series.

    An entry is a sample and its values. Row 0 has the first ``count[0]`` entries, and so on; samples ascend within
    a row.
    """

    headers: list[ProfileHeader]
    row: Ints  # the number of each row in the whole matrix, (R,)
    header: Ints  # which of ``headers`` it has, (R,)
    timing: Ints  # time_nanos, duration_nanos, period, (R, 3)
    count: Ints  # entries of each row, (R,)
    sample: Ints  # indexes of samples, (E,)
    values: Ints  # (E, sample types)

    def __len__(self) -> int:
        return len(self.row)

    def select(self, is_wanted: Bools) -> "SparseRows":
        """Return the rows whose number is marked in *is_wanted*."""
        keep = is_wanted[self.row]
        if keep.all():
            return self
        entries = np.repeat(keep, self.count)
        return SparseRows(
            self.headers,
            self.row[keep],
            self.header[keep],
            self.timing[keep],
            self.count[keep],
            self.sample[entries],
            self.values[entries],
        )

    def dump(self, field_number: int) -> bytes:
        """Return a part of a block that holds these rows in this field."""
        columns: dict[str, Ints] = {"row": self.row, "header": self.header, "count": self.count}
        columns |= {f"about{i}": self.timing[:, i] for i in range(_TIMING_COLUMNS)}
        columns["sample"] = _to_deltas(self.sample, self.count)
        columns |= {f"value{i}": self.values[:, i] for i in range(self.values.shape[1])}
        column_specs, arrays = [], list[bytes]()
        positions: dict[bytes, int] = {}
        for name, column in columns.items():
            lowest = int(column.min()) if len(column) else 0
            differences = (column - lowest).view(np.uint64)
            # Values are often multiples: nanoseconds of a sampling period, bytes of an allocation.
            unit = int(np.gcd.reduce(differences)) or 1 if len(column) else 1
            array_type, data = _encode_narrow((differences // np.uint64(unit)).view(np.int64))
            # Columns that differ only in their unit share one array.
            position = positions.setdefault(data, len(arrays))
            if position == len(arrays):
                arrays.append(data)
            column_specs.append([name, position, array_type, lowest, unit])
        document = {
            "columns": column_specs,
            "sizes": list(map(len, arrays)),
            "headers": [
                [list(map(_to_text, header.strings)), list(map(_to_text, header.comments))]
                for header in self.headers
            ],
        }
        head = json.dumps(document, separators=(",", ":")).encode()
        return encode_part(field_number, b"".join((len(head).to_bytes(_LENGTH_BYTES, "little"), head, *arrays)))

    @classmethod
    def load(cls, data: bytes, field_number: int, limits: Limits = Limits()) -> "SparseRows":
        """Return the rows that :meth:`dump` was called on.

        Raise ``Invalid`` (code ``damaged_block``) if *data* is damaged.
        """
        try:
            body = decode_part(data, field_number, limits)
            begin = _LENGTH_BYTES + int.from_bytes(body[:_LENGTH_BYTES], "little")
            document = json.loads(body[_LENGTH_BYTES:begin])
            bounds = (begin + to_offsets(np.array(document["sizes"], np.int64))).tolist()
            columns = {}
            for name, position, array_type, lowest, unit in document["columns"]:
                encoded = body[bounds[position] : bounds[position + 1]]
                array = np.frombuffer(encoded, _ARRAY_TYPES[array_type]).astype(np.int64)
                columns[name] = (array.view(np.uint64) * np.uint64(unit)).view(np.int64) + np.int64(lowest)
            headers = [
                ProfileHeader(tuple(map(_to_bytes, strings)), tuple(map(_to_bytes, comments)))
                for strings, comments in document["headers"]
            ]
            width = sum(name.startswith("value") for name in columns)
            rows = cls(
                headers=headers,
                row=columns["row"],
                header=columns["header"],
                timing=np.stack([columns[f"about{i}"] for i in range(_TIMING_COLUMNS)], axis=1),
                count=columns["count"],
                sample=_from_deltas(columns["sample"], columns["count"]),
                values=np.stack([columns[f"value{i}"] for i in range(width)], axis=1),
            )
        except (ValueError, KeyError, TypeError, IndexError, OverflowError, MemoryError) as error:
            raise _damaged(str(error)[:200]) from None
        rows._check()
        return rows

    def _check(self) -> None:
        lengths = {len(self.row), len(self.header), len(self.timing), len(self.count)}
        if len(lengths) > 1 or int(self.count.sum()) != len(self.sample) or len(self.sample) != len(self.values):
            raise _damaged("columns of different lengths")
        for name, end in (("row", 2**32), ("header", len(self.headers)), ("count", 2**32), ("sample", 2**32)):
            column: Ints = getattr(self, name)
            if len(column) and not 0 <= int(column.min()) <= int(column.max()) < end:
                raise _damaged(f"a {name} is not from 0 to {end - 1}")


def sum_entries(row: Ints, sample: Ints, values: Ints, rows: int) -> tuple[Ints, Ints, Ints]:
    """Sort entries by row and sample, and add up the values of equal ones.

    *row* is from 0 to ``rows - 1``. Return ``count``, ``sample`` and ``values`` as in :class:`SparseRows`.
    """
    key = row << 32 | sample
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    key = key[first]
    sums = np.add.reduceat(values[order], first, axis=0) if len(first) else values[:0]
    return np.bincount(key >> 32, minlength=rows), key & (2**32 - 1), sums


def concatenate_rows(parts: Sequence[SparseRows]) -> SparseRows:
    """Return all rows of *parts*, one part after the other."""
    if len(parts) == 1:
        return parts[0]
    headers, header = dedupe_headers(part.headers[index] for part in parts for index in part.header.tolist())
    return SparseRows(
        headers=headers,
        row=np.concatenate([part.row for part in parts]),
        header=header,
        timing=np.concatenate([part.timing for part in parts]),
        count=np.concatenate([part.count for part in parts]),
        sample=np.concatenate([part.sample for part in parts]),
        values=np.concatenate([part.values for part in parts]),
    )


def dedupe_headers(headers: Iterable[ProfileHeader]) -> tuple[list[ProfileHeader], Ints]:
    """Return the distinct *headers*, and the index in them of each."""
    indexes: dict[ProfileHeader, int] = {}
    header = [indexes.setdefault(header, len(indexes)) for header in headers]
    return list(indexes), np.array(header, np.int64)


def merge_headers(headers: Iterable[ProfileHeader], timing: Ints) -> tuple[ProfileHeader, tuple[int, int, int]]:
    """Return header and timing of the merge of rows with *headers* and *timing*, in this order."""
    strings = [b""] * 4
    comments: dict[bytes, None] = {}
    for header in headers:
        strings = [known or other for known, other in zip(strings, header.strings, strict=True)]
        comments |= dict.fromkeys(header.comments)
    times = timing[:, 0][timing[:, 0] > 0]
    return (
        ProfileHeader(tuple(strings), tuple(comments)),
        (
            int(times.min()) if len(times) else 0,
            min(sum(timing[:, 1].tolist()), MAX_INT64),
            int(timing[:, 2].max()),
        ),
    )


def _damaged(detail: str) -> Invalid:
    return Invalid(f"the sparse rows of a block are damaged: {detail}", code="damaged_block")


def _to_deltas(sample: Ints, count: Ints) -> Ints:
    """Return the differences within each row, which are smaller than the numbers themselves."""
    deltas = np.diff(sample, prepend=0)
    first = to_offsets(count)[:-1][count > 0]
    deltas[first] = sample[first]
    return deltas


def _from_deltas(deltas: Ints, count: Ints) -> Ints:
    """Return what :func:`_to_deltas` was given."""
    sums = np.cumsum(deltas)
    first = to_offsets(count)[:-1][count > 0]
    sums -= np.repeat(sums[first] - deltas[first], count[count > 0])
    return sums


def _encode_narrow(column: Ints) -> tuple[str, bytes]:
    """Return the narrowest type that holds *column*, and its array of that type."""
    lowest, highest = (int(column.min()), int(column.max())) if len(column) else (0, 0)
    array_type = next(
        name
        for name, dtype in _ARRAY_TYPES.items()
        if np.iinfo(dtype).min <= lowest and highest <= np.iinfo(dtype).max
    )
    return array_type, column.astype(_ARRAY_TYPES[array_type]).tobytes()


def _to_text(data: bytes) -> str:
    """Return *data* as text for JSON: a pprof's strings are arbitrary bytes."""
    return data.decode("latin-1")


def _to_bytes(text: str) -> bytes:
    return text.encode("latin-1")
