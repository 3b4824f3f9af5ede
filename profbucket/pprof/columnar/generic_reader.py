"""Streams of pairs of varints, read whole batches at a time.

In a pprof without its strings, and with repeated numbers written one by one, everything is a tag and a varint:
a field's value, or the length of a message whose own pairs follow. Nesting therefore needs no parser: all
varints are found by their last bytes at once, and which message a pair belongs to follows from where messages
end.

Nothing is trusted: each message must end where a pair ends, within the message around it. A stream in which
anything else is found is reported by its number, and says nothing about the others.
"""

import numpy as np

from profbucket.pprof.columnar.arrays import Bools, Ints, Words, ranges, where

# Kinds of messages. TOP are the fields of the profile itself.
TOP, SAMPLE_TYPE, SAMPLE, MAPPING, LOCATION, FUNCTION, LABEL, LINE, PERIOD_TYPE = range(9)
_OUTER = {0x0A: SAMPLE_TYPE, 0x12: SAMPLE, 0x1A: MAPPING, 0x22: LOCATION, 0x2A: FUNCTION, 0x5A: PERIOD_TYPE}
_INNER = {(SAMPLE, 0x1A): LABEL, (LOCATION, 0x22): LINE}

_KIND_OF_TAG = np.full(128, -1, np.int8)
for _tag, _kind in _OUTER.items():
    _KIND_OF_TAG[_tag] = _kind
_KIND_INSIDE = np.full((9, 128), -1, np.int8)
for (_kind, _tag), _inner in _INNER.items():
    _KIND_INSIDE[_kind, _tag] = _inner


class Irregular(Exception):
    """Some streams are no streams of pairs; ``streams`` are their numbers."""

    def __init__(self, streams: Ints) -> None:
        super().__init__(streams)
        self.streams = streams


class Pairs:
    """All pairs of some streams, by message."""

    def __init__(self, raw: bytes, bounds: Ints) -> None:
        """Read the streams that lie end to end in *raw*, each between two of *bounds*, or raise ``Irregular``."""
        self.count = len(bounds) - 1
        self._bytes = np.frombuffer(raw, np.uint8)
        self._bounds = bounds
        self._find_pairs()
        self._find_messages()

    def _find_pairs(self) -> None:
        data, bounds = self._bytes, self._bounds
        last = where(data.view(np.int8) >= 0)
        cuts = np.searchsorted(last, bounds)
        odd = (np.diff(cuts) & 1).astype(bool)
        # An empty stream has no last byte, and no sample types either: the general way says what it lacks.
        odd |= (np.diff(bounds) == 0) | (data[np.minimum(bounds[1:], len(data)) - 1] > 127) if len(data) else True
        if odd.any():
            raise Irregular(where(odd))
        cuts >>= 1
        self._cuts: Ints = cuts  # the pair with which each stream begins
        tag_at = np.ascontiguousarray(last[0::2])
        end = last[1::2] + 1
        self._start = tag_at  # where each pair begins, as long as tags have one byte
        self._end = end
        self.tags = data[tag_at]
        size = end - tag_at
        size -= 1
        self._check(where(tag_at[1:] != end[:-1]) + 1)
        if len(tag_at) and tag_at[0] != 0:
            raise Irregular(np.zeros(1, np.int64))
        # Most numbers have one byte. The longer ones are put together from their ends.
        values = data[end - 1].astype(np.uint64)
        longer, before = where(size > 1), 2
        while len(longer):
            part = data[end[longer] - before].astype(np.uint64)
            values[longer] = values[longer] << np.uint64(7) | part & np.uint64(127)
            if before == 10:
                # The tenth byte has room for one bit.
                self._check(longer[(size[longer] > 10) | (data[end[longer] - 1] > 1)])
                break
            longer = longer[size[longer] > before]
            before += 1
        self.values: Words = values

    def _find_messages(self) -> None:
        tags, start, end, bounds = self.tags, self._start, self._end, self._bounds
        wire = tags & 7
        heads = where(wire == 2)
        if len(heads) + np.count_nonzero(wire == 0) != len(tags):
            self._check(where((wire != 0) & (wire != 2)))
        if not len(heads):
            raise Irregular(np.arange(self.count))
        limit = np.repeat(bounds[1:], np.diff(np.searchsorted(heads, self._cuts)))
        length = self.values[heads]
        self._check(heads[length > (limit - end[heads]).view(np.uint64)])
        stop = end[heads] + length.view(np.int64)
        # A message is an inner one if it does not reach beyond all messages before it.
        outer = np.empty(len(heads), bool)
        outer[0] = True
        np.greater(stop[1:], np.maximum.accumulate(stop)[:-1], out=outer[1:])
        tops = where(outer)
        kind = _KIND_OF_TAG[tags[heads]]
        inner = where(~outer)
        parent = np.repeat(tops, np.diff(tops, append=len(heads)) - 1)
        kind[inner] = _KIND_INSIDE[kind[parent], tags[heads[inner]]]
        self._check(heads[kind < 0])

        # Usually a message ends where another begins. Else what follows belongs to the message around it.
        follow = np.empty(len(heads), np.int64)
        follow[:-1] = start[heads[1:]]
        follow[-1] = bounds[-1]
        follow[tops[:-1]] = start[heads[tops[1:]]]
        follow[tops[-1]] = bounds[-1]
        loose = where(stop != follow)
        lead = self._cuts[:-1][wire[self._cuts[:-1]] != 2]  # and so do streams that begin with a number
        first, main = heads + 1, np.ones(len(heads), bool)
        if len(loose) or len(lead):
            at = np.searchsorted(start, stop[loose])
            beyond = at == len(start)
            whole = beyond | (start[np.where(beyond, 0, at)] == stop[loose])
            self._check(heads[loose[~whole | (stop[loose] > follow[loose])]])
            around = np.full(len(heads), TOP, np.int8)
            around[inner] = kind[parent]
            ends_too = np.zeros(len(heads), bool)
            ends_too[inner] = stop[inner] == stop[parent]
            more = loose[~beyond & ~ends_too[loose]]
            extra = np.concatenate((lead, at[~beyond & ~ends_too[loose]]))
            extra_kind = np.concatenate((np.full(len(lead), TOP, np.int8), around[more]))
            # A rest stands before the message that begins with the same pair; it is empty then.
            order = np.argsort(np.concatenate((first * 2 - 1, extra * 2)), kind="stable")
            first = np.concatenate((first, extra))[order]
            main = np.concatenate((main, np.zeros(len(extra), bool)))[order]
            kind = np.concatenate((kind, extra_kind))[order]
        # What belongs to a segment ends where the next one begins, with the head of a message in between.
        self._first: Ints = first
        self._main: Bools = main
        self._kind = kind
        self._count = np.empty(len(first), np.int64)
        self._count[:-1] = first[1:] - main[1:] - first[:-1]
        self._count[-1] = len(tags) - first[-1]

    def messages(self, kind: int) -> "Messages":
        """All messages of a kind, in the order of streams and within each as they came."""
        segments = where(self._kind == kind)
        first, count = self._first[segments], self._count[segments]
        if kind == TOP:
            stream = np.searchsorted(self._cuts, first, side="right") - 1
            return Messages(self, first, count, stream, np.arange(self.count))
        main = self._main[segments]
        # The pair before a message's own is its head.
        stream = np.repeat(np.arange(self.count), np.diff(np.searchsorted(first[main], self._cuts, side="right")))
        return Messages(self, first, count, None if main.all() else np.cumsum(main) - 1, stream)

    def count_of(self, kind: int | None) -> int:
        """How many messages there are of that kind, or of any."""
        return int(np.count_nonzero(self._main if kind is None else (self._kind == kind) & self._main))

    def parents(self, outer: int, inner: int) -> Ints:
        """For each message of kind *inner*, the number of the one of kind *outer* around it."""
        around = self._first[(self._kind == outer) & self._main]
        found: Ints = np.searchsorted(around, self._first[(self._kind == inner) & self._main], side="right") - 1
        return found

    def _check(self, bad: Ints) -> None:
        """Raise ``Irregular`` if there are *bad* pairs."""
        if len(bad):
            raise Irregular(np.unique(np.searchsorted(self._cuts, bad, side="right") - 1))


class Messages:
    """The fields of all messages of one kind. ``stream`` is the stream that each message is from."""

    def __init__(self, pairs: Pairs, first: Ints, count: Ints, row: Ints | None, stream: Ints) -> None:
        self._pairs, self._first, self._count, self._row = pairs, first, count, row
        self.stream = stream

    def __len__(self) -> int:
        return len(self.stream)

    def columns(self, *tags: int) -> list[Words]:
        """The values of the fields with these tags, 0 where there is none; there must be no others."""
        pairs, first, count = self._pairs, self._first, self._count
        uniform = int(count[0]) if len(count) else 0
        if self._row is None and uniform <= len(tags) and (count == uniform).all():
            # The same fields in the same order, as one encoder writes them: columns lie there already.
            found: dict[int, Words] = {}
            for i in range(uniform):
                at = first + i
                here = pairs.tags[at]
                if here[0] in found or here[0] not in tags or (here != here[0]).any():
                    break
                found[int(here[0])] = pairs.values[at]
            else:
                none = np.zeros(len(first), np.uint64)
                return [found.get(tag, none) for tag in tags]
        fields = self.fields(*tags)
        columns = []
        for row, values in fields:
            column = np.zeros(len(self), np.uint64)
            column[row] = values  # of several values for one row, numpy keeps the last, as protobuf does
            columns.append(column)
        return columns

    def fields(self, *tags: int) -> list[tuple[Ints, Words]]:
        """For each tag the values in their order and the messages they belong to; there must be no other tags."""
        pairs = self._pairs
        at = ranges(self._first, self._count)
        row = np.repeat(np.arange(len(self)) if self._row is None else self._row, self._count)
        here = pairs.tags[at]
        found = []
        left = len(at)
        for tag in tags:
            hits = where(here == tag)
            left -= len(hits)
            found.append((row[hits], pairs.values[at[hits]]))
        if left:
            pairs._check(at[~np.isin(here, np.array(tags, np.uint8))])
        return found
