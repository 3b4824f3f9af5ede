"""Which samples of a merge each of many profiles has, with which values: a sparse matrix with a header a row.

Written as a length, JSON of that length which lists columns, and the columns, each as an array of the narrowest
type that holds it.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.pprof.block.container import decode_part, encode_part
from profbucket.pprof.columnar.arrays import Bools, Ints, offsets

_TYPES: dict[str, np.dtype[Any]] = {
    "u1": np.dtype("<u1"),
    "u2": np.dtype("<u2"),
    "u4": np.dtype("<u4"),
    "i8": np.dtype("<i8"),
}
_LENGTH = 8  # bytes before the JSON, which say how long it is


@dataclass(frozen=True, slots=True)
class Header:
    """What a profile says besides its samples, times and period."""

    texts: tuple[bytes, ...]  # drop_frames, keep_frames, default_sample_type, doc_url
    comments: tuple[bytes, ...]


@dataclass(slots=True)
class SparseRows:
    """SparseRows of numbers ``row``. The first has the first ``count[0]`` entries, and so on.

    An entry is the number of a sample, ascending within a row, and a value for each sample type. ``header`` says
    which of ``headers`` a row has, ``about`` are its time, duration and period.
    """

    headers: list[Header]
    row: Ints
    header: Ints
    about: Ints  # rows by 3
    count: Ints
    sample: Ints
    values: Ints  # entries by sample types

    def __len__(self) -> int:
        return len(self.row)

    def of(self, wanted: Bools) -> "SparseRows":
        """The rows whose numbers are *wanted*."""
        keep = wanted[self.row]
        if keep.all():
            return self
        entries = np.repeat(keep, self.count)
        return SparseRows(
            self.headers,
            self.row[keep],
            self.header[keep],
            self.about[keep],
            self.count[keep],
            self.sample[entries],
            self.values[entries],
        )

    def dump(self, field: int) -> bytes:
        """A gzip member that holds these rows in *field*."""
        columns: dict[str, Ints] = {"row": self.row, "header": self.header, "count": self.count}
        columns |= {f"about{i}": self.about[:, i] for i in range(3)}
        columns["sample"] = _steps(self.sample, self.count)
        columns |= {f"value{i}": self.values[:, i] for i in range(self.values.shape[1])}
        listed, arrays = [], list[bytes]()
        known: dict[bytes, int] = {}
        for name, column in columns.items():
            lowest = int(column.min()) if len(column) else 0
            least = column - lowest
            # Values are often multiples: nanoseconds of a sampling period, bytes of an allocation.
            unit = int(np.gcd.reduce(least.view(np.uint64))) or 1 if len(column) else 1
            kind, data = _narrow((least.view(np.uint64) // np.uint64(unit)).view(np.int64))
            place = known.setdefault(data, len(arrays))
            if place == len(arrays):
                arrays.append(data)  # else it differs from another column by its unit only
            listed.append([name, place, kind, lowest, unit])
        texts = [[[_text(t) for t in h.texts], [_text(c) for c in h.comments]] for h in self.headers]
        sizes = list(map(len, arrays))
        head = json.dumps({"columns": listed, "sizes": sizes, "headers": texts}, separators=(",", ":")).encode()
        body = b"".join((len(head).to_bytes(_LENGTH, "little"), head, *arrays))
        return encode_part(field, body)

    @classmethod
    def load(cls, data: bytes, field: int, limits: Limits = Limits()) -> "SparseRows":
        """Read what :meth:`dump` wrote, or raise ``Invalid``."""
        try:
            body = decode_part(data, field, limits)
            begin = _LENGTH + int.from_bytes(body[:_LENGTH], "little")
            head = json.loads(body[_LENGTH:begin])
            bounds = (begin + offsets(np.array(head["sizes"], np.int64))).tolist()
            columns = {}
            for name, place, kind, lowest, unit in head["columns"]:
                array = np.frombuffer(body[bounds[place] : bounds[place + 1]], _TYPES[kind]).astype(np.int64)
                columns[name] = (array.view(np.uint64) * np.uint64(unit)).view(np.int64) + np.int64(lowest)
            headers = [Header(tuple(map(_bytes, t)), tuple(map(_bytes, c))) for t, c in head["headers"]]
            width = sum(name.startswith("value") for name in columns)
            found = cls(
                headers=headers,
                row=columns["row"],
                header=columns["header"],
                about=np.stack([columns[f"about{i}"] for i in range(3)], axis=1),
                count=columns["count"],
                sample=_summed(columns["sample"], columns["count"]),
                values=np.stack([columns[f"value{i}"] for i in range(width)], axis=1),
            )
        except (ValueError, KeyError, TypeError, IndexError, OverflowError, MemoryError) as error:
            raise Invalid(f"not the rows of a block: {str(error)[:200]}") from None
        found._check()
        return found

    def _check(self) -> None:
        lengths = {len(self.row), len(self.header), len(self.about), len(self.count)}
        if len(lengths) > 1 or int(self.count.sum()) != len(self.sample) or len(self.sample) != len(self.values):
            raise Invalid("not the rows of a block: columns of different lengths")
        for name, most in (("row", 2**32), ("header", len(self.headers)), ("count", 2**32), ("sample", 2**32)):
            column: Ints = getattr(self, name)
            if len(column) and not 0 <= int(column.min()) <= int(column.max()) < most:
                raise Invalid(f"not the rows of a block: a {name} is not from 0 to {most - 1}")


def combined(group: Ints, sample: Ints, values: Ints, groups: int) -> tuple[Ints, Ints, Ints]:
    """Entries of *groups* rows, in any order and repeated, as rows have them: counts, samples, values added up."""
    key = group << 32 | sample
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    key = key[first]
    added = np.add.reduceat(values[order], first, axis=0) if len(first) else values[:0]
    return np.bincount(key >> 32, minlength=groups), key & (2**32 - 1), added


def united(parts: Sequence[SparseRows]) -> SparseRows:
    """All rows of *parts*, one after the other."""
    if len(parts) == 1:
        return parts[0]
    headers, header = numbered(part.headers[number] for part in parts for number in part.header.tolist())
    return SparseRows(
        headers=headers,
        row=np.concatenate([part.row for part in parts]),
        header=header,
        about=np.concatenate([part.about for part in parts]),
        count=np.concatenate([part.count for part in parts]),
        sample=np.concatenate([part.sample for part in parts]),
        values=np.concatenate([part.values for part in parts]),
    )


def numbered(headers: Iterable[Header]) -> tuple[list[Header], Ints]:
    """The distinct ones of *headers*, and which of them each is."""
    places: dict[Header, int] = {}
    numbers = [places.setdefault(header, len(places)) for header in headers]
    return list(places), np.array(numbers, np.int64)


def summary(headers: Iterable[Header], about: Ints) -> tuple[Header, tuple[int, int, int]]:
    """The header of a merge of rows with *headers*, in their order: time, duration and period beside it."""
    texts = [b""] * 4
    comments: dict[bytes, None] = {}
    for header in headers:
        texts = [text or other for text, other in zip(texts, header.texts, strict=True)]
        comments |= dict.fromkeys(header.comments)
    times = about[:, 0][about[:, 0] > 0]
    return (
        Header(tuple(texts), tuple(comments)),
        (int(times.min()) if len(times) else 0, int(about[:, 1].sum()), int(about[:, 2].max())),
    )


def _steps(sample: Ints, count: Ints) -> Ints:
    """Differences within each row, which are smaller than the numbers themselves."""
    steps = np.diff(sample, prepend=0)
    first = offsets(count)[:-1][count > 0]
    steps[first] = sample[first]
    return steps


def _summed(steps: Ints, count: Ints) -> Ints:
    """What :func:`_steps` took apart."""
    sums = np.cumsum(steps)
    first = offsets(count)[:-1][count > 0]
    sums -= np.repeat(sums[first] - steps[first], count[count > 0])
    return sums


def _narrow(column: Ints) -> tuple[str, bytes]:
    """*column* in the narrowest type that holds it."""
    lowest, highest = (int(column.min()), int(column.max())) if len(column) else (0, 0)
    kind = next(kind for kind, of in _TYPES.items() if np.iinfo(of).min <= lowest and highest <= np.iinfo(of).max)
    return kind, column.astype(_TYPES[kind]).tobytes()


def _text(text: bytes) -> str:
    return text.decode("latin-1")  # bytes as characters: pprof's texts are any bytes


def _bytes(text: str) -> bytes:
    return text.encode("latin-1")
