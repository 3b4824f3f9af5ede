"""A plain implementation of the merge, with which the fast one is compared.

It has no batches, columns or hash tables of its own, only dictionaries whose keys are the content itself.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.model.regex import compile_pattern
from profbucket.pprof import profile_pb2
from profbucket.pprof.codec import decode, encode
from profbucket.pprof.numbers import MAX_INT64, normalize_time, wrap_int64
from profbucket.pprof.report.function_names import format_function_name
from profbucket.pprof.units import find_factor

_PAGE_BYTES = 0x1000

_Key = tuple[Any, ...]
_Type = tuple[bytes, bytes, int]  # name and unit of a sample type, and how many before it have the same name


class Merger:
    """Merges profiles that are added one by one, with the contract of ``profbucket.pprof.merge.Merger``."""

    def __init__(self, limits: Limits = Limits()) -> None:
        self._limits = limits
        self._types: list[tuple[_Type, ...]] = []  # of each profile
        self._periods: list[tuple[_Type, int]] = []
        self._time = self._duration = 0
        self._frame_rules: list[tuple[bytes, bytes]] = []  # of each profile: drop_frames, keep_frames
        self._pruned: list[bytes] = []
        self._header_strings = {"default_sample_type": b"", "doc_url": b""}
        self._comments: dict[bytes, None] = {}
        self._functions: dict[_Key, int] = {}
        self._mappings: dict[_Key, int] = {}
        self._bases: list[tuple[int, int, int, bytes, bytes, tuple[bool, ...]]] = []
        self._locations: dict[_Key, int] = {}
        self._samples: dict[_Key, dict[_Type, int]] = {}  # values by sample type

    def add(self, data: bytes) -> None:
        """Add one pprof, gzip or raw.

        Raise ``Invalid``, and add nothing, if it is invalid or has no sample type in common with those before.
        """
        profile = decode(data, self._limits).message
        strings = list(profile.string_table)
        types = self._add_header(profile, strings)
        self._frame_rules.append((strings[profile.drop_frames], strings[profile.keep_frames]))
        self._pruned.append(encode(_prune(profile)))
        functions = {
            f.id: self._intern(
                self._functions, (strings[f.name], strings[f.system_name], strings[f.filename], f.start_line)
            )
            for f in profile.function
        }
        mappings = {m.id: (self._add_mapping(m, strings), m.memory_start) for m in profile.mapping}
        mappings[0] = (-1, 0)
        locations = {}
        for location in profile.location:
            mapping, start = mappings.get(location.mapping_id, mappings[0])
            lines = tuple((functions[n.function_id], n.line, n.column) for n in location.line)
            address = (location.address - start) % 2**64
            locations[location.id] = self._intern(self._locations, (mapping, address, lines, location.is_folded))
        for sample in profile.sample:
            if any(sample.value):
                stack = tuple(locations[number] for number in sample.location_id)
                values = self._samples.setdefault((stack, _list_labels(sample, strings)), {})
                for sample_type, value in zip(types, sample.value, strict=True):
                    values[sample_type] = wrap_int64(values.get(sample_type, 0) + value)

    def result(self, comments: Sequence[str] = ()) -> bytes:
        """Return the merge as a gzip pprof, with *comments* before those of the profiles.

        Raise ``Invalid`` if no profile was added.
        """
        if not self._types:
            raise Invalid("nothing to merge", code="nothing_to_merge")
        if len(set(self._frame_rules)) > 1:
            return merge(self._pruned, comments, self._limits)
        return encode(_Builder(self).build(comments))

    def list_types(self) -> list[_Type]:
        """Return the sample types that all profiles have, in the finest units."""
        return _find_common(self._types)

    def find_period(self) -> tuple[_Type, int]:
        """Return the period type, if it is common, and the largest period in its unit."""
        [pair] = _find_common([(pair,) for pair, _ in self._periods]) or [(b"", b"", 0)]
        periods = [
            min(period * (1 if of == pair else round(_factor(of, pair) or 0)), MAX_INT64)
            for of, period in self._periods
            if of == pair or pair[0]
        ]
        return pair, max(periods, default=0)

    def _add_header(self, profile: profile_pb2.Profile, strings: list[bytes]) -> list[_Type]:
        names = [strings[t.type] for t in profile.sample_type]
        types = tuple(
            (name, strings[t.unit], names[:i].count(name))
            for i, (name, t) in enumerate(zip(names, profile.sample_type, strict=True))
        )
        period_type = (strings[profile.period_type.type], strings[profile.period_type.unit], 0)
        if not _find_common([*self._types, types]):
            raise _differ("sample", self.list_types(), types)
        self._types.append(types)
        self._periods.append((period_type, profile.period))
        self._time = min(filter(None, (self._time, normalize_time(profile.time_nanos))), default=0)
        self._duration = min(self._duration + max(profile.duration_nanos, 0), MAX_INT64)
        for name in self._header_strings:
            self._header_strings[name] = self._header_strings[name] or strings[getattr(profile, name)]
        self._comments.update(dict.fromkeys(strings[i] for i in profile.comment))
        return list(types)

    def _add_mapping(self, mapping: profile_pb2.Mapping, strings: list[bytes]) -> int:
        file, build_id = strings[mapping.filename], strings[mapping.build_id]
        size = (mapping.memory_limit - mapping.memory_start + _PAGE_BYTES - 1) % 2**64 // _PAGE_BYTES
        index = self._intern(self._mappings, (size, mapping.file_offset, build_id or file))
        flags = (
            mapping.has_functions,
            mapping.has_filenames,
            mapping.has_line_numbers,
            mapping.has_inline_frames,
        )
        base = (mapping.memory_start, mapping.memory_limit, mapping.file_offset, file, build_id, flags)
        if index == len(self._bases):
            self._bases.append(base)
        else:
            # A merged mapping has the lowest load address, and a flag only if all have it.
            known = self._bases[index]
            common_flags = tuple(a and b for a, b in zip(known[5], flags, strict=True))
            self._bases[index] = (*min(known[:5], base[:5]), common_flags)
        return index

    @staticmethod
    def _intern(table: dict[_Key, int], key: _Key) -> int:
        return table.setdefault(key, len(table))


class _Builder:
    """Builds the message of what a merger holds, without what no sample uses."""

    def __init__(self, merger: Merger) -> None:
        self._merger = merger
        self._out = profile_pb2.Profile(string_table=[b""])
        self._strings = {b"": 0}
        self._functions = list(merger._functions)
        self._locations = list(merger._locations)
        self._function_ids: dict[int, int] = {}
        self._location_ids: dict[int, int] = {}

    def build(self, comments: Sequence[str]) -> profile_pb2.Profile:
        merger, out = self._merger, self._out
        types = merger.list_types()
        for type_name, unit, _ in types:
            out.sample_type.add(type=self._string(type_name), unit=self._string(unit))
        period_type, out.period = merger.find_period()
        out.period_type.type, out.period_type.unit = map(self._string, period_type[:2])
        out.time_nanos, out.duration_nanos = merger._time, merger._duration
        out.drop_frames, out.keep_frames = map(self._string, merger._frame_rules[0])
        for name, value in merger._header_strings.items():
            names = {tuple(name for name, *_ in profile_types) for profile_types in merger._types}
            is_left_out = len(names) > 1 and value not in {name for name, *_ in types}
            default = types[0][0] if value and is_left_out and name == "default_sample_type" else value
            setattr(out, name, self._string(default))
        for comment in dict.fromkeys([*(c.encode() for c in comments), *merger._comments]):
            out.comment.append(self._string(comment))
        for number, (start, limit, offset, file, build_id, flags) in enumerate(merger._bases):
            mapping = out.mapping.add(id=number + 1, memory_start=start, memory_limit=limit, file_offset=offset)
            mapping.filename, mapping.build_id = self._string(file), self._string(build_id)
            (
                mapping.has_functions,
                mapping.has_filenames,
                mapping.has_line_numbers,
                mapping.has_inline_frames,
            ) = flags
        for (stack, labels), values_by_type in merger._samples.items():
            values = [_sum_values(values_by_type, pair) for pair in types]
            if any(values):
                sample = out.sample.add(location_id=map(self._location, stack), value=values)
                for key, text, num, unit in labels:
                    sample.label.add(
                        key=self._string(key), str=self._string(text), num=num, num_unit=self._string(unit)
                    )
        return out

    def _string(self, text: bytes) -> int:
        number = self._strings.setdefault(text, len(self._strings))
        if number == len(self._out.string_table):
            self._out.string_table.append(text)
        return number

    def _location(self, number: int) -> int:
        if number not in self._location_ids:
            mapping, address, lines, folded = self._locations[number]
            base = self._merger._bases[mapping][0] if mapping >= 0 else 0
            location = self._out.location.add(
                id=len(self._out.location) + 1,
                mapping_id=mapping + 1,
                address=(address + base) % 2**64,
                is_folded=folded,
            )
            for function, line, column in lines:
                location.line.add(function_id=self._function(function), line=line, column=column)
            self._location_ids[number] = location.id
        return self._location_ids[number]

    def _function(self, number: int) -> int:
        if number not in self._function_ids:
            name, system_name, filename, start_line = self._functions[number]
            function = self._out.function.add(
                id=len(self._out.function) + 1,
                name=self._string(name),
                system_name=self._string(system_name),
                filename=self._string(filename),
                start_line=start_line,
            )
            self._function_ids[number] = function.id
        return self._function_ids[number]


def merge(profiles: Iterable[bytes], comments: Sequence[str] = (), limits: Limits = Limits()) -> bytes:
    """Merge *profiles*, gzip or raw, into one gzip pprof; see :class:`Merger`."""
    merger = Merger(limits)
    for data in profiles:
        merger.add(data)
    return merger.result(comments)


def _list_labels(sample: profile_pb2.Sample, strings: list[bytes]) -> tuple[tuple[bytes, bytes, int, bytes], ...]:
    """Return the labels of *sample* in canonical order, without those that have neither text, number nor unit."""
    labels = [
        # As in google/pprof, a label with a text has no number.
        (strings[n.key], strings[n.str], *((0, b"") if strings[n.str] else (n.num, strings[n.num_unit])))
        for n in sample.label
        if strings[n.str] or n.num or strings[n.num_unit]
    ]
    # The order of keys does not tell samples apart; the order among the values of one key does.
    return tuple(sorted(labels, key=lambda label: (label[0], not label[1])))


def _find_common(lists: Sequence[Sequence[_Type]]) -> list[_Type]:
    """Return the pairs whose names are in all of *lists* with units that can be converted, each in the finest."""
    if len(set(map(tuple, lists))) == 1:
        return list(lists[0])
    common = []
    for name in dict.fromkeys(name for name, *_ in lists[0]):
        named = [[pair for pair in pairs if pair[0] == name] for pairs in lists]
        pairs = [same[0] if len(same) == 1 else None for same in named]
        finest = pairs[0]
        for pair in pairs:
            factor = pair and finest and _factor(pair, finest)
            if not factor:
                finest = None
            elif factor < 1:
                finest = pair
        if finest:
            common.append(finest)
    return common


def _factor(pair: _Type, to: _Type) -> float | None:
    return find_factor(pair[1].decode(errors="replace"), to[1].decode(errors="replace"))


def _sum_values(values: Mapping[_Type, int], to: _Type) -> int:
    """Return the sum of the values whose type has the name of *to*, in its unit."""
    total = 0
    for pair, value in values.items():
        if (pair[0], pair[2]) == (to[0], to[2]):
            total += value * (1 if pair == to else round(_factor(pair, to) or 0))
    return wrap_int64(total)


def _prune(profile: profile_pb2.Profile) -> profile_pb2.Profile:
    """Return a copy of *profile* without the frames that it asks to drop, as google/pprof's ``Prune``."""
    strings, pruned = list(profile.string_table), profile_pb2.Profile()
    pruned.CopyFrom(profile)
    pruned.drop_frames = pruned.keep_frames = 0
    try:
        drop = compile_pattern(strings[profile.drop_frames])
        keep = compile_pattern(strings[profile.keep_frames])
    except Invalid:
        return pruned
    if not strings[profile.drop_frames]:
        return pruned
    functions = {f.id: format_function_name(strings[f.name], strings[f.system_name]) for f in profile.function}

    def matches(name: bytes) -> bool:
        name = name.removeprefix(b".")
        for bracket in re.finditer(rb"\(anonymous namespace\)|operator\(\)|\(", name):
            if bracket[0] == b"(":
                name = name[: bracket.start()]
                break
        return bool(drop.fullmatch(name)) and not (strings[profile.keep_frames] and keep.fullmatch(name))

    whole, beneath = set(), set()
    for location in pruned.location:
        for i in reversed(range(len(location.line))):
            name = functions[location.line[i].function_id]
            if name and matches(name):
                if i == len(location.line) - 1:
                    whole.add(location.id)
                else:
                    beneath.add(location.id)
                    del location.line[: i + 1]
                break
    for sample in pruned.sample:
        has_kept = False
        for i in reversed(range(len(sample.location_id))):
            number = sample.location_id[i]
            if number not in whole | beneath:
                has_kept = True
            elif has_kept:
                del sample.location_id[: i + (number in whole)]
                break
    return pruned


def _differ(what: str, known: Iterable[_Type], types: Iterable[_Type]) -> Invalid:
    difference = f"{_format_types(known)} cannot be merged with {_format_types(types)}"
    return Invalid(f"{what} types differ: {difference}", code="sample_types_differ")


def _format_types(types: Iterable[_Type]) -> str:
    return (
        "["
        + ", ".join(f"{name.decode(errors='replace')}/{unit.decode(errors='replace')}" for name, unit, _ in types)
        + "]"
    )
