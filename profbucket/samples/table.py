"""Write the samples of series as rows of a Parquet file."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from profbucket.limits import Limits
from profbucket.model.labels import Labels
from profbucket.pprof.block.series_sums import SeriesSums
from profbucket.pprof.columnar.accumulator import Accumulator
from profbucket.pprof.columnar.arrays import Ints, expand_ranges, to_offsets
from profbucket.pprof.columnar.select import Samples, select_labels
from profbucket.samples.frames import Frames, collect_frames, name_package
from profbucket.samples.schema import DICTIONARIES, FILE_SCHEMA

# Of a row group: as many as DuckDB reads at once, or fewer if their stacks take much memory.
_GROUP_ROWS = 122_880
_GROUP_FRAMES = 4_000_000

_COMPRESSION_LEVEL = 9  # a fifth smaller than at 1, and hardly slower to write; above 9 it is

_MICROSECOND = 1000
_DICTIONARY_BYTES = 16 << 20  # above it, a column of texts is written without its dictionary


class SeriesSpan(NamedTuple):
    """The number of profiles of a series in a table, and when the first and the last were created."""

    profiles: int
    first: int
    last: int


_NO_SPAN = SeriesSpan(0, 0, 0)  # of a series that has no profiles in the table, though in one of its blocks

Spans = Mapping[tuple[str, Labels], SeriesSpan]  # by the measures of the profiles and their series


def write_table(
    sink: IO[bytes], service: str, parts: Iterable[SeriesSums], spans: Spans, limits: Limits = Limits()
) -> int:
    """Write a Parquet file with the samples of *parts* to *sink*; return the number of rows.

    Memory follows the distinct stacks of one part. Raise ``TooMany`` if one stack has more frames than
    ``limits.frames``, or all rows more than ``limits.table_frames``.
    """
    rows, frames = 0, 0
    with pq.ParquetWriter(
        sink,
        FILE_SCHEMA,
        compression="zstd",
        compression_level=_COMPRESSION_LEVEL,
        store_schema=False,  # that of Arrow, which only Arrow reads
        use_dictionary=DICTIONARIES,
        dictionary_pagesize_limit=_DICTIONARY_BYTES,
    ) as writer:
        for part in parts:
            for batch in _list_batches(service, part, spans, limits):
                frames += len(batch["stack"].values)
                if frames > limits.table_frames:
                    raise limits.too_many(
                        "table_frames", f"a day of service {service} has {frames} frames or more"
                    )
                writer.write_batch(batch, row_group_size=_GROUP_ROWS)
                rows += len(batch)
    return rows


def _list_batches(service: str, part: SeriesSums, spans: Spans, limits: Limits) -> Iterator[pa.RecordBatch]:
    """Yield the rows of *part*, sorted by function, sample, sample type and series."""
    frames, samples = collect_frames(part.accumulator)
    if (longest := int(frames.stack_length.max(initial=0))) > limits.frames:
        raise limits.too_many("frames", f"a stack of service {service} has {longest} frames")
    columns = _PartColumns(service, part, frames, samples, spans)
    entry, sample_type = np.nonzero(part.values)
    sample, series = part.sample[entry], part.series[entry]
    order = np.lexsort((series, sample_type, sample, columns.rank_of_text[frames.leaf_name[sample]]))
    entry, sample_type, sample, series = (array[order] for array in (entry, sample_type, sample, series))
    values, ends = part.values[entry, sample_type], to_offsets(frames.stack_length[sample])
    begin = 0
    while begin < len(entry):
        fitting = int(np.searchsorted(ends, ends[begin] + _GROUP_FRAMES, "right")) - 1
        end = min(max(fitting, begin + 1), begin + _GROUP_ROWS)
        rows = slice(begin, end)
        yield columns.to_batch(sample[rows], sample_type[rows], series[rows], values[rows])
        begin = end


class _PartColumns:
    """The columns of one part, whose rows are selected by numbers of samples, sample types and series."""

    def __init__(self, service: str, part: SeriesSums, frames: Frames, samples: Samples, spans: Spans) -> None:
        self._service = service
        self._frames = frames
        self._texts = frames.texts
        self._packages = list(map(name_package, frames.texts))
        self._sample_types, self._units = map(list, zip(*part.sample_types(), strict=True))
        self._labels = _to_maps([list(labels) for labels in part.labels])
        self._sample_labels = list(_list_sample_labels(part.accumulator, samples))
        series_spans = [spans.get((part.measures, labels), _NO_SPAN) for labels in part.labels]
        self._profiles, self._first, self._last = np.array(series_spans, np.int64).reshape(-1, 3).T
        self.rank_of_text = np.empty(len(frames.texts), np.int64)
        self.rank_of_text[np.argsort(np.array(frames.texts, object))] = np.arange(len(frames.texts))

    def to_batch(self, sample: Ints, sample_type: Ints, series: Ints, values: Ints) -> pa.RecordBatch:
        frames = self._frames
        distinct, sample_number = np.unique(sample, return_inverse=True)
        distinct_stack = frames.expand(distinct)
        begin = to_offsets(frames.stack_length[distinct])[:-1]
        frame = expand_ranges(begin[sample_number], frames.stack_length[sample])
        stack, is_first = distinct_stack[frame], frames.mark_first(distinct, distinct_stack)[frame]
        offsets = pa.array(to_offsets(frames.stack_length[sample]).astype(np.int32))
        sample_labels = _to_maps([self._sample_labels[i] for i in distinct.tolist()])
        arrays = {
            "service_name": _encode(np.zeros_like(sample), [self._service]),
            "start": _to_times(self._first[series]),
            "end": _to_times(self._last[series]),
            "labels": self._labels.take(pa.array(series)),
            "profiles": pa.array(self._profiles[series]),
            "sample_type": _encode(sample_type, self._sample_types),
            "unit": _encode(sample_type, self._units),
            "value": pa.array(values),
            "function": _encode(frames.leaf_name[sample], self._texts),
            "package": _encode(frames.leaf_name[sample], self._packages),
            "stack": _to_lists(offsets, _encode(frames.name[stack], self._texts), "stack"),
            "files": _to_lists(offsets, _encode(frames.file[stack], self._texts), "files"),
            "lines": _to_lists(offsets, pa.array(frames.line[stack]), "lines"),
            "is_first": _to_lists(offsets, pa.array(is_first), "is_first"),
            "mapping": _encode(frames.leaf_mapping[sample], self._texts),
            "sample_labels": sample_labels.take(pa.array(sample_number)),
        }
        return pa.RecordBatch.from_arrays([arrays[name] for name in FILE_SCHEMA.names], schema=FILE_SCHEMA)


def _encode(numbers: Ints, texts: Sequence[str]) -> pa.DictionaryArray:
    """Return the texts with these *numbers*; the dictionary has no other."""
    used, index = np.unique(numbers, return_inverse=True)
    dictionary = pa.array([texts[i] for i in used.tolist()], pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(index.astype(np.int32)), dictionary)


def _to_lists(offsets: pa.Array, items: pa.Array, column: str) -> pa.ListArray:
    return pa.ListArray.from_arrays(offsets, items, type=FILE_SCHEMA.field(column).type)


def _to_times(nanoseconds: npt.NDArray[np.int64]) -> pa.Array:
    return pa.array(nanoseconds // _MICROSECOND).cast(FILE_SCHEMA.field("start").type)


def _to_maps(items: Sequence[Sequence[tuple[str, str]]]) -> pa.MapArray:
    return pa.array(items, FILE_SCHEMA.field("labels").type)


def _list_sample_labels(accumulator: Accumulator, samples: Samples) -> Iterator[list[tuple[str, str]]]:
    """Yield the labels of each sample as texts, each key once: several values are joined by commas."""
    labels = select_labels(accumulator, samples)
    columns = zip(
        labels.key.tolist(),
        labels.text.tolist(),
        labels.number.view(np.int64).tolist(),
        labels.unit.tolist(),
        strict=True,
    )
    texts = [
        (_decode(accumulator, key), _format_value(accumulator, text, number, unit))
        for key, text, number, unit in columns
    ]
    ends = to_offsets(samples.label_count).tolist()
    for begin, end in pairwise(ends):
        values: dict[str, list[str]] = {}
        for key, value in texts[begin:end]:
            values.setdefault(key, []).append(value)
        yield [(key, ",".join(own)) for key, own in values.items()]


def _format_value(accumulator: Accumulator, text: int, number: int, unit: int) -> str:
    """Return the value of a label: its text, or its number, followed by the unit if there is one."""
    if text:
        return _decode(accumulator, text)
    return f"{number} {_decode(accumulator, unit)}" if unit else str(number)


def _decode(accumulator: Accumulator, index: int) -> str:
    return accumulator.string(index).decode(errors="replace")
