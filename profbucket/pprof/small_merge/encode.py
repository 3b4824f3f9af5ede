"""Encode the content of a small merge as one profile, with the bytes that ``columnar/encode.py`` would write."""

from collections.abc import Iterable, Iterator
from itertools import chain, starmap
from typing import Generic, TypeVar

from profbucket.pprof import wire
from profbucket.pprof.small_merge.content import Content, Function, Label, Location, Mapping, Pair, Stack
from profbucket.pprof.wire import encode_delimited, encode_scalars, encode_varint

T = TypeVar("T")


def encode_content(content: Content) -> bytes:
    """Return the protobuf of *content*, without what no sample uses."""
    return _Encoder(content).encode()


class _Used(Generic[T]):
    """The items of a table that the result contains, in their order, and the id of each by its number."""

    def __init__(self, table: Iterable[T], numbers: Iterable[int], first_id: int = 1) -> None:
        items, used = list(table), sorted(set(numbers))
        self.items = list(map(items.__getitem__, used))
        self.ids = {number: item_id for item_id, number in enumerate(used, first_id)}


class _Encoder:
    def __init__(self, content: Content) -> None:
        self._content = content
        self._samples = [
            (stack, labels, sums)
            for (stack, labels), sums in content.samples.items()
            if any(value % 2**64 for value in sums)
        ]
        self._locations = _Used(content.locations, chain.from_iterable(stack for stack, *_ in self._samples))
        self._encoded_location_ids = {number: encode_varint(i) for number, i in self._locations.ids.items()}
        lines = chain.from_iterable(lines for *_, lines in self._locations.items)
        self._functions = _Used(content.functions, (function for function, *_ in lines))
        self._mappings = self._select_mappings()
        self._mapping_ids = {0: 0, **{number: i for i, number in enumerate(self._mappings, 1)}}
        self._strings = _Used(content.strings, self._list_strings(), first_id=0)

    def encode(self) -> bytes:
        content, tags, ids = self._content, wire.Profile, self._strings.ids
        drop_frames, keep_frames = content.header.frame_rules
        parts = [
            *(self._encode_value_type(tags.SAMPLE_TYPE, pair) for pair in content.header.sample_types),
            *starmap(self._encode_sample, self._samples),
            *starmap(self._encode_mapping, self._mappings.items()),
            *map(self._encode_location, self._locations.ids.values(), self._locations.items),
            *map(self._encode_function, self._functions.ids.values(), self._functions.items),
            *(encode_delimited(tags.STRING_TABLE, text) for text in self._strings.items),
            encode_scalars((tags.DROP_FRAMES, tags.KEEP_FRAMES), (ids[drop_frames], ids[keep_frames])),
            encode_scalars((tags.TIME_NANOS, tags.DURATION_NANOS), (content.time_nanos, content.duration_nanos)),
            self._encode_value_type(tags.PERIOD_TYPE, content.header.period_type),
            encode_scalars((tags.PERIOD,), (content.period,)),
            *(bytes([tags.COMMENT]) + encode_varint(ids[comment]) for comment in content.comments),
            encode_scalars(
                (tags.DEFAULT_SAMPLE_TYPE, tags.DOC_URL), (ids[content.default_sample_type], ids[content.doc_url])
            ),
        ]
        return b"".join(parts)

    def _select_mappings(self) -> dict[int, Mapping]:
        """Return by number the mappings that locations use, and those of programs, which come first."""
        used = {mapping for mapping, *_ in self._locations.items}
        mappings = self._content.mappings
        selected = [number for number, mapping in mappings.items() if mapping.main_count or number in used]
        selected.sort(key=lambda number: (-mappings[number].main_count, mappings[number].base[3:], number))
        return {number: mappings[number] for number in selected}

    def _list_strings(self) -> Iterator[int]:
        """Yield the strings that the result contains, many of them several times."""
        content = self._content
        yield from (0, content.default_sample_type, content.doc_url, *content.comments)
        yield from chain(*content.header.sample_types, content.header.period_type, content.header.frame_rules)
        for mapping in self._mappings.values():
            yield from map(content.strings.__getitem__, mapping.base[3:])
        for function in self._functions.items:
            yield from function[:3]
        for _, labels, _ in self._samples:
            for key, text, _, unit in labels:
                yield from (key, text, unit)

    def _encode_value_type(self, tag: int, pair: Pair) -> bytes:
        return encode_delimited(
            tag, encode_scalars(wire.ValueType.SCALARS, map(self._strings.ids.__getitem__, pair))
        )

    def _encode_sample(self, stack: Stack, labels: tuple[Label, ...], sums: list[int]) -> bytes:
        ids, parts = self._strings.ids, []
        if stack:
            location_ids = b"".join(map(self._encoded_location_ids.__getitem__, stack))
            parts.append(encode_delimited(wire.Sample.LOCATION_ID_PACKED, location_ids))
        parts.append(encode_delimited(wire.Sample.VALUE_PACKED, b"".join(map(encode_varint, sums))))
        for key, text, number, unit in labels:
            scalars = encode_scalars(wire.Label.SCALARS, (ids[key], ids[text], number, ids[unit]))
            parts.append(encode_delimited(wire.Sample.LABEL, scalars))
        return encode_delimited(wire.Profile.SAMPLE, b"".join(parts))

    def _encode_mapping(self, number: int, mapping: Mapping) -> bytes:
        start, limit, offset, *texts = mapping.base
        text_ids = (self._strings.ids[self._content.strings[text]] for text in texts)
        values = (self._mapping_ids[number], start, limit, offset, *text_ids, *mapping.flags)
        return encode_delimited(wire.Profile.MAPPING, encode_scalars(wire.Mapping.SCALARS, values))

    def _encode_location(self, location_id: int, location: Location) -> bytes:
        mapping, address, is_folded, lines = location
        start = self._content.mappings[mapping].base[0] if mapping else 0
        values = (location_id, self._mapping_ids[mapping], (address + start) % 2**64, is_folded)
        parts = [encode_scalars(wire.Location.SCALARS, values)]
        for function, line, column in lines:
            scalars = encode_scalars(wire.Line.SCALARS, (self._functions.ids[function], line, column))
            parts.append(encode_delimited(wire.Location.LINE, scalars))
        return encode_delimited(wire.Profile.LOCATION, b"".join(parts))

    def _encode_function(self, function_id: int, function: Function) -> bytes:
        *texts, start_line = function
        values = (function_id, *map(self._strings.ids.__getitem__, texts), start_line)
        return encode_delimited(wire.Profile.FUNCTION, encode_scalars(wire.Function.SCALARS, values))
