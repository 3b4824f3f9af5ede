"""OpenTelemetry's profiles as pprofs. Each holds only what it uses of the dictionary, which a request shares."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from profbucket.errors import Invalid
from profbucket.ingest.otlp_pb2 import AnyValue, Dictionary, Profile, Sample
from profbucket.limits import Limits
from profbucket.pprof import encode, profile_pb2
from profbucket.pprof.numbers import MAX_INT64, wrap_int64

_BUILD_ID = "process.executable.build_id."  # .gnu, .go or .htlhash
_PACKED_PER_ENTRY = 4  # as precheck.count_entries counts
_ENTRIES_PER_LOCATION = 4  # itself, a mapping, a line and its function


class Budget:
    """A limit on all pprofs of one request together: a small dictionary can be used very often."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._entries = limits.entries
        self._bytes = limits.inflated_bytes

    def spend(self, entries: int, size: int = 0) -> None:
        """Take *entries* and *size* bytes from the budget; raise ``TooLarge`` if it has less."""
        self._entries -= entries
        self._bytes -= size
        if self._entries < 0:
            raise self._limits.too_large("entries", "the samples use the dictionary too often")
        if self._bytes < 0:
            raise self._limits.too_large(
                "inflated_bytes", "the samples use the strings of the dictionary too often"
            )


class Tables:
    """The tables of a *dictionary*. Strings cost *budget* each time that they are read, as they may be long.

    Methods raise ``Invalid`` for an index outside a table.
    """

    def __init__(self, dictionary: Dictionary, budget: Budget) -> None:
        self.budget = budget
        self._items: Mapping[str, Sequence[Any]] = {
            "attribute": dictionary.attribute_table,
            "function": dictionary.function_table,
            "location": dictionary.location_table,
            "mapping": dictionary.mapping_table,
            "stack": dictionary.stack_table,
            "string": dictionary.string_table,
        }

    def find(self, table: str, index: int) -> Any:
        """Return the item of *table*, or ``None`` for index 0."""
        if not index:
            return None
        items = self._items[table]
        if not 0 < index < len(items):
            raise Invalid(
                f"{table} {index} is outside the {table} table, which has {len(items)}", code="invalid_profile"
            )
        return items[index]

    def string(self, index: int) -> str:
        """Return a string, which is empty for index 0."""
        return self._spend(self.find("string", index) or "")

    def scalar(self, value: AnyValue) -> str | int | None:
        """Return an attribute's value: a string or an integer; ``None`` instead of a list or a map."""
        kind = value.WhichOneof("value")
        if kind is None:
            return None
        if kind == "string_value_strindex":
            return self.string(value.string_value_strindex)
        scalar: str | int | float = getattr(value, kind)
        if isinstance(scalar, bool):
            return "true" if scalar else "false"
        return scalar if isinstance(scalar, int) else self._spend(str(scalar))

    def _spend(self, text: str) -> str:
        self.budget.spend(0, len(text))
        return text


@dataclass(frozen=True, slots=True)
class Column:
    """A sample type of a pprof: the values of the profile *source*, times *factor*."""

    source: int
    name: str
    unit: str
    factor: int = 1


def to_pprof(profiles: Sequence[Profile], columns: Sequence[Column], tables: Tables) -> bytes:
    """Return *profiles*, taken at the same time, as one gzip pprof with *columns*.

    The result is empty if they have no samples.

    Raises:
        Invalid: an index is outside a table of the dictionary.
        TooLarge: the result would exceed the budget of *tables*.
    """
    tables.budget.spend(0)  # it may be exceeded already
    message = _Builder(tables).build(profiles, columns)
    return encode(message) if message.sample else b""


class _Builder:
    """One pprof. The dictionaries hold ids by the index in a table of the request."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._budget = tables.budget
        self._strings: dict[str, int] = {"": 0}  # numbers by text
        self._strings_by_index: dict[int, int] = {}
        self._functions: dict[int, int] = {}
        self._mappings: dict[int, int] = {}
        self._locations: dict[int, int] = {}
        self._labels: dict[int, profile_pb2.Label | None] = {}
        self.message = profile_pb2.Profile(string_table=[b""])

    def build(self, profiles: Sequence[Profile], columns: Sequence[Column]) -> profile_pb2.Profile:
        """Return the pprof."""
        message, first = self.message, profiles[0]
        message.time_nanos = first.time_unix_nano
        message.duration_nanos = min(first.duration_nano, MAX_INT64)
        for column in columns:
            message.sample_type.add(type=self._string(column.name), unit=self._string(column.unit))
        message.period = first.period
        message.period_type.type = self._string_at(first.period_type.type_strindex)
        message.period_type.unit = self._string_at(first.period_type.unit_strindex)
        for (stack, attributes), values in self._add_up(profiles).items():
            row = [wrap_int64(values[column.source] * column.factor) for column in columns]
            self._add_sample(stack, attributes, row)
        without_symbols = {location.mapping_id for location in message.location if not location.line}
        for mapping in message.mapping:
            if mapping.id not in without_symbols:  # pprof looks for those itself
                mapping.has_functions = mapping.has_filenames = mapping.has_line_numbers = True
        return message

    def _add_up(self, profiles: Sequence[Profile]) -> dict[tuple[int, tuple[int, ...]], list[int]]:
        """Return the sum of the samples of each profile, by stack and attributes."""
        sums: dict[tuple[int, tuple[int, ...]], list[int]] = {}
        for number, profile in enumerate(profiles):
            for sample in profile.samples:
                key = (sample.stack_index, tuple(sample.attribute_indices))
                values = sums.get(key)
                if values is None:
                    self._budget.spend(1 + len(profiles) // _PACKED_PER_ENTRY)
                    values = sums[key] = [0] * len(profiles)
                values[number] += _value(sample)
        return sums

    def _add_sample(self, stack_index: int, attributes: Sequence[int], values: Sequence[int]) -> None:
        stack = self._tables.find("stack", stack_index)
        indexes: Sequence[int] = stack.location_indices if stack else ()
        self._budget.spend(len(indexes) // _PACKED_PER_ENTRY + len(attributes))
        sample = self.message.sample.add(value=values)
        sample.location_id.extend(self._location(index) for index in indexes if index)
        sample.label.extend(label for label in map(self._label, attributes) if label)

    def _label(self, index: int) -> profile_pb2.Label | None:
        if index not in self._labels:
            self._labels[index] = self._make_label(index)
        return self._labels[index]

    def _make_label(self, index: int) -> profile_pb2.Label | None:
        attribute = self._tables.find("attribute", index)
        value = self._tables.scalar(attribute.value) if attribute else None
        key = self._string_at(attribute.key_strindex) if attribute else 0
        if value is None or not key:
            return None
        if isinstance(value, str):
            return profile_pb2.Label(key=key, str=self._string(value))
        return profile_pb2.Label(key=key, num=value, num_unit=self._string_at(attribute.unit_strindex))

    def _location(self, index: int) -> int:
        if index in self._locations:
            return self._locations[index]
        source = self._tables.find("location", index)
        self._budget.spend(_ENTRIES_PER_LOCATION * (1 + len(source.lines)))
        lines = [
            profile_pb2.Line(function_id=self._function(line.function_index), line=line.line, column=line.column)
            for line in source.lines
            if line.function_index
        ]
        number = self._locations[index] = len(self._locations) + 1
        mapping_id = self._mapping(source.mapping_index)
        self.message.location.add(id=number, mapping_id=mapping_id, address=source.address, line=lines)
        return number

    def _function(self, index: int) -> int:
        if index not in self._functions:
            source = self._tables.find("function", index)
            name, system_name, filename = (
                self._string_at(number)
                for number in (source.name_strindex, source.system_name_strindex, source.filename_strindex)
            )
            number = self._functions[index] = len(self._functions) + 1
            self.message.function.add(
                id=number,
                name=name,
                system_name=system_name or name,
                filename=filename,
                start_line=source.start_line,
            )
        return self._functions[index]

    def _mapping(self, index: int) -> int:
        source = self._tables.find("mapping", index)
        if source is None:
            return 0
        if index not in self._mappings:
            number = self._mappings[index] = len(self._mappings) + 1
            self.message.mapping.add(
                id=number,
                memory_start=source.memory_start,
                memory_limit=source.memory_limit,
                file_offset=source.file_offset,
                filename=self._string_at(source.filename_strindex),
                build_id=self._string(next(self._build_ids(source.attribute_indices), "")),
            )
        return self._mappings[index]

    def _build_ids(self, attributes: Sequence[int]) -> Iterator[str]:
        self._budget.spend(len(attributes))
        for index in attributes:
            attribute = self._tables.find("attribute", index)
            if attribute and self._tables.string(attribute.key_strindex).startswith(_BUILD_ID):
                yield str(self._tables.scalar(attribute.value) or "")

    def _string_at(self, index: int) -> int:
        number = self._strings_by_index.get(index)
        if number is None:
            number = self._strings_by_index[index] = self._string(self._tables.string(index))
        return number

    def _string(self, text: str) -> int:
        number = self._strings.get(text)
        if number is None:
            data = text.encode()
            self._budget.spend(1, len(data))
            number = self._strings[text] = len(self._strings)
            self.message.string_table.append(data)
        return number


def _value(sample: Sample) -> int:
    return sum(sample.values) if sample.values else len(sample.timestamps_unix_nano)
