"""The content of a small merge: each string, function, location, stack and set of labels once.

The rules are those of ``Merger``, and the order is that of ``columnar/accumulator.py``.
"""

from collections import defaultdict
from dataclasses import dataclass
from itertools import count
from operator import add, and_, attrgetter
from typing import NamedTuple, TypeAlias, TypeVar

from profbucket.pprof import profile_pb2
from profbucket.pprof.numbers import MAX_INT64, normalize_time

T = TypeVar("T")

# Strings, functions, locations and mappings are numbers in the tables of the content; mapping 0 is none.
Pair: TypeAlias = tuple[int, int]  # type and unit
Function: TypeAlias = tuple[int, int, int, int]  # name, system name, file, start line
Line: TypeAlias = tuple[int, int, int]  # function, line, column
Location: TypeAlias = tuple[int, int, bool, tuple[Line, ...]]  # mapping, address within it, is_folded, lines
Label: TypeAlias = tuple[int, int, int, int]  # key, text, number, unit
Stack: TypeAlias = tuple[int, ...]

_PAGE_BYTES = 0x1000

_get_mapping = attrgetter(
    "id",
    "memory_start",
    "memory_limit",
    "file_offset",
    "filename",
    "build_id",
    "has_functions",
    "has_filenames",
    "has_line_numbers",
    "has_inline_frames",
)
_get_function = attrgetter("id", "name", "system_name", "filename", "start_line")
_get_location = attrgetter("id", "mapping_id", "address", "is_folded", "line")
_get_line = attrgetter("function_id", "line", "column")
_get_label = attrgetter("key", "str", "num", "num_unit")


class Header(NamedTuple):
    """Sample types, period type and frames to drop, as strings: they must be equal in all profiles."""

    sample_types: tuple[Pair, ...]
    period_type: Pair
    frame_rules: tuple[int, int]


@dataclass(slots=True)
class Mapping:
    """A mapping where its load address was lowest, with the flags that all profiles have."""

    base: tuple[int, int, int, bytes, bytes]  # start, limit, offset, file, build id
    flags: list[bool]
    main_count: int = 0  # in how many profiles it is the first one, the program itself


class _Table(defaultdict[T, int]):
    """Distinct items, numbered in the order in which they are first looked up."""

    def __init__(self, first: int = 0) -> None:
        super().__init__(count(first).__next__)


class Content:
    """The distinct content of the profiles that were added."""

    def __init__(self) -> None:
        self.header = Header((), (0, 0), (0, 0))
        self.time_nanos = self.duration_nanos = self.period = 0
        self.default_sample_type = self.doc_url = 0
        self.comments: dict[int, None] = {}
        self.strings = _Table[bytes]()
        self.functions = _Table[Function]()
        self.mappings: dict[int, Mapping] = {}
        self._mapping_numbers = _Table[tuple[int, int, int]](first=1)  # pages, offset, build id or else file
        self.locations = _Table[Location]()
        self.samples: dict[tuple[Stack, tuple[Label, ...]], list[int]] = {}  # sums of values, not wrapped

    def add(self, message: profile_pb2.Profile) -> bool:
        """Add a valid profile; return False if it is unlike those before."""
        strings = list(map(self.strings.__getitem__, message.string_table))
        if not self._add_header(message, strings):
            return False
        functions = {
            function_id: self.functions[strings[name], strings[system_name], strings[file], start_line]
            for function_id, name, system_name, file, start_line in map(_get_function, message.function)
        }
        mappings = self._add_mappings(message, strings)
        locations = {}
        for location_id, mapping_id, address, is_folded, lines in map(_get_location, message.location):
            mapping, start = mappings.get(mapping_id, (0, 0))
            frames = tuple([(functions[number], line, column) for number, line, column in map(_get_line, lines)])
            locations[location_id] = self.locations[mapping, (address - start) % 2**64, is_folded, frames]
        get_location = locations.__getitem__
        for sample in message.sample:
            values = sample.value[:]
            if any(values):
                stack = tuple(map(get_location, sample.location_id[:]))
                key = stack, _read_labels(sample, strings) if sample.label else ()
                sums = self.samples.get(key)
                self.samples[key] = list(map(add, sums, values)) if sums else values
        return True

    def _add_header(self, message: profile_pb2.Profile, strings: list[int]) -> bool:
        header = Header(
            tuple((strings[pair.type], strings[pair.unit]) for pair in message.sample_type),
            (strings[message.period_type.type], strings[message.period_type.unit]),
            (strings[message.drop_frames], strings[message.keep_frames]),
        )
        if self.header.sample_types and header != self.header:
            return False
        self.header = header
        self.time_nanos = min(filter(None, (self.time_nanos, normalize_time(message.time_nanos))), default=0)
        self.duration_nanos = min(self.duration_nanos + max(message.duration_nanos, 0), MAX_INT64)
        self.period = max(self.period, message.period)
        self.default_sample_type = self.default_sample_type or strings[message.default_sample_type]
        self.doc_url = self.doc_url or strings[message.doc_url]
        self.comments.update(dict.fromkeys(map(strings.__getitem__, message.comment)))
        return True

    def _add_mappings(self, message: profile_pb2.Profile, strings: list[int]) -> dict[int, tuple[int, int]]:
        """Add the mappings of *message*; return by id the number of each and its load address."""
        texts, numbers = message.string_table, dict[int, tuple[int, int]]()
        for mapping_id, start, limit, offset, file, build_id, *flags in map(_get_mapping, message.mapping):
            pages = (limit - start + _PAGE_BYTES - 1) % 2**64 // _PAGE_BYTES
            number = self._mapping_numbers[pages, offset, strings[build_id] or strings[file]]
            base = (start, limit, offset, texts[file], texts[build_id])
            mapping = self.mappings.setdefault(number, Mapping(base, flags))
            mapping.base = min(mapping.base, base)
            mapping.flags = list(map(and_, mapping.flags, flags))
            mapping.main_count += not numbers
            numbers[mapping_id] = number, start
        return numbers


def _read_labels(sample: profile_pb2.Sample, strings: list[int]) -> tuple[Label, ...]:
    """Return the labels of *sample* that have a value."""
    labels = list[Label]()
    for key, text, number, unit in map(_get_label, sample.label):
        if strings[text]:  # as in google/pprof, a label with a text has no number
            labels.append((strings[key], strings[text], 0, 0))
        elif number or strings[unit]:
            labels.append((strings[key], 0, number, strings[unit]))
    # The order of keys does not tell samples apart; the order among the values of one key does.
    return tuple(sorted(labels, key=lambda label: (label[0], not label[1])))
