"""The merge, once more, as plainly as Python can say it: what the real one is compared with.

It has no batches, no columns and no hashes of its own making, only dictionaries whose keys are the content itself.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.pprof import profile_pb2
from profbucket.pprof.codec import decode, encode

_PAGE = 0x1000

_Key = tuple[Any, ...]


class Merger:
    """Profiles added one by one; the contract is that of ``profbucket.pprof.merge.Merger``."""

    def __init__(self, limits: Limits = Limits()) -> None:
        self._limits = limits
        self._types: tuple[tuple[bytes, bytes], ...] | None = None
        self._period_type = (b"", b"")
        self._period = self._time = self._duration = 0
        self._texts = {"drop_frames": b"", "keep_frames": b"", "default_sample_type": b"", "doc_url": b""}
        self._comments: dict[bytes, None] = {}
        self._functions: dict[_Key, int] = {}
        self._mappings: dict[_Key, int] = {}
        self._bases: list[tuple[int, int, int, bytes, bytes, tuple[bool, ...]]] = []
        self._locations: dict[_Key, int] = {}
        self._samples: dict[_Key, list[int]] = {}

    def add(self, data: bytes) -> None:
        """Add one pprof, gzip or raw.

        Raise ``Invalid`` (and add nothing) where it is none, or where its sample types are not those of the
        profiles before; the text names both.
        """
        profile = decode(data, self._limits).message
        text = list(profile.string_table)
        self._add_header(profile, text)
        functions = {
            f.id: self._intern(
                self._functions, (text[f.name], text[f.system_name], text[f.filename], f.start_line)
            )
            for f in profile.function
        }
        mappings = {m.id: (self._add_mapping(m, text), m.memory_start) for m in profile.mapping}
        mappings[0] = (-1, 0)
        locations = {}
        for location in profile.location:
            mapping, start = mappings[location.mapping_id]
            lines = tuple((functions[n.function_id], n.line, n.column) for n in location.line)
            address = (location.address - start) % 2**64
            locations[location.id] = self._intern(self._locations, (mapping, address, lines, location.is_folded))
        for sample in profile.sample:
            if any(sample.value):
                stack = tuple(locations[number] for number in sample.location_id)
                values = self._samples.setdefault((stack, _labels(sample, text)), [0] * len(sample.value))
                for i, value in enumerate(sample.value):
                    values[i] = _wrapped(values[i] + value)

    def result(self, comments: Sequence[str] = ()) -> bytes:
        """The merge as a gzip pprof, with *comments* before those of the profiles.

        Raise ``Invalid`` where nothing was added.
        """
        if self._types is None:
            raise Invalid("nothing to merge", code="nothing_to_merge")
        return encode(_Builder(self).build(comments))

    def _add_header(self, profile: profile_pb2.Profile, text: list[bytes]) -> None:
        types = tuple((text[t.type], text[t.unit]) for t in profile.sample_type)
        period_type = (text[profile.period_type.type], text[profile.period_type.unit])
        if self._types is None:
            self._types, self._period_type = types, period_type
        if types != self._types:
            raise Invalid(f"sample types differ: {_named(self._types)} cannot be merged with {_named(types)}")
        if period_type != self._period_type:
            raise Invalid(
                f"period types differ: {_named([self._period_type])} cannot be merged with {_named([period_type])}"
            )
        self._period = max(self._period, profile.period)
        self._time = min(filter(None, (self._time, profile.time_nanos)), default=0)
        self._duration = _wrapped(self._duration + profile.duration_nanos)
        for name in self._texts:
            self._texts[name] = self._texts[name] or text[getattr(profile, name)]
        self._comments.update(dict.fromkeys(text[i] for i in profile.comment))

    def _add_mapping(self, mapping: profile_pb2.Mapping, text: list[bytes]) -> int:
        file, build_id = text[mapping.filename], text[mapping.build_id]
        size = (mapping.memory_limit - mapping.memory_start + _PAGE - 1) % 2**64 // _PAGE
        number = self._intern(self._mappings, (size, mapping.file_offset, build_id or file))
        flags = (
            mapping.has_functions,
            mapping.has_filenames,
            mapping.has_line_numbers,
            mapping.has_inline_frames,
        )
        base = (mapping.memory_start, mapping.memory_limit, mapping.file_offset, file, build_id, flags)
        if number == len(self._bases):
            self._bases.append(base)
        else:
            # The lowest of all bases stands for all, and it is as symbolized as the least of them.
            known = self._bases[number]
            both = tuple(a and b for a, b in zip(known[5], flags, strict=True))
            self._bases[number] = (*min(known[:5], base[:5]), both)
        return number

    @staticmethod
    def _intern(table: dict[_Key, int], key: _Key) -> int:
        return table.setdefault(key, len(table))


class _Builder:
    """Writes what a merger holds as a message, with nothing in it that no sample needs."""

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
        for kind, unit in merger._types or ():
            out.sample_type.add(type=self._string(kind), unit=self._string(unit))
        out.period_type.type = self._string(merger._period_type[0])
        out.period_type.unit = self._string(merger._period_type[1])
        out.period, out.time_nanos, out.duration_nanos = merger._period, merger._time, merger._duration
        for name, value in merger._texts.items():
            setattr(out, name, self._string(value))
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
        for (stack, labels), values in merger._samples.items():
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


def _labels(sample: profile_pb2.Sample, text: list[bytes]) -> tuple[tuple[bytes, bytes, int, bytes], ...]:
    """The labels of *sample* in an order of their own; one without text, number and unit says nothing."""
    labels = [
        # As google/pprof reads it: a label with a text has no number.
        (text[n.key], text[n.str], *((0, b"") if text[n.str] else (n.num, text[n.num_unit])))
        for n in sample.label
        if text[n.str] or n.num or text[n.num_unit]
    ]
    # The order among the values of one key is part of a profile, the order of keys is not.
    return tuple(sorted(labels, key=lambda label: (label[0], not label[1])))


def _named(types: Iterable[tuple[bytes, bytes]]) -> str:
    return (
        "["
        + ", ".join(f"{kind.decode(errors='replace')}/{unit.decode(errors='replace')}" for kind, unit in types)
        + "]"
    )


def _wrapped(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63
