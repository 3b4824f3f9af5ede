"""Read profiles of any layout, whole batches at a time.

In a pprof without its strings, and with repeated numbers unpacked, everything is a pair of varints: a tag, and a
value or the length of a message whose own pairs follow. Nesting therefore needs no parser: one pass finds all
varints by their last bytes, and where messages end tells which message a pair belongs to.

Nothing is trusted: each message must end where a pair ends, within the message around it. A profile that breaks
this is reported by its number and does not affect the others.
"""

import numpy as np

from profbucket.pprof import wire
from profbucket.pprof.columnar.arrays import Bools, Ints, Words, expand_ranges, flatnonzero

# Types of messages. PROFILE stands for the scalar fields of the profile itself.
PROFILE, SAMPLE_TYPE, SAMPLE, MAPPING, LOCATION, FUNCTION, LABEL, LINE, PERIOD_TYPE = range(9)
_TYPES_IN_PROFILE = {
    wire.Profile.SAMPLE_TYPE: SAMPLE_TYPE,
    wire.Profile.SAMPLE: SAMPLE,
    wire.Profile.MAPPING: MAPPING,
    wire.Profile.LOCATION: LOCATION,
    wire.Profile.FUNCTION: FUNCTION,
    wire.Profile.PERIOD_TYPE: PERIOD_TYPE,
}
_TYPES_IN_MESSAGES = {(SAMPLE, wire.Sample.LABEL): LABEL, (LOCATION, wire.Location.LINE): LINE}

# The same as arrays, by tag, and by type of the outer message and tag; -1 for what does not occur.
_OUTER_TYPE = np.full(128, -1, np.int8)
for _tag, _type in _TYPES_IN_PROFILE.items():
    _OUTER_TYPE[_tag] = _type
_INNER_TYPE = np.full((9, 128), -1, np.int8)
for (_type, _tag), _inner in _TYPES_IN_MESSAGES.items():
    _INNER_TYPE[_type, _tag] = _inner


class NeedsProtobuf(Exception):
    """Some profiles of a batch cannot be read as columns; only protobuf can tell whether they are valid.

    ``profiles`` are their numbers in the batch.
    """

    def __init__(self, profiles: Ints) -> None:
        super().__init__(profiles)
        self.profiles = profiles


class GenericReader:
    """All messages of a batch of encoded profiles."""

    def __init__(self, raw: bytes, bounds: Ints) -> None:
        """Read the profiles ``raw[bounds[i]:bounds[i + 1]]``. Raise ``NeedsProtobuf`` if one is not all pairs."""
        self.count = len(bounds) - 1
        self._bytes = np.frombuffer(raw, np.uint8)
        self._bounds = bounds
        self._find_pairs()
        self._find_messages()

    def _find_pairs(self) -> None:
        data, bounds = self._bytes, self._bounds
        last = flatnonzero(data.view(np.int8) >= 0)  # the last byte of each varint
        cuts = np.searchsorted(last, bounds)
        is_odd = (np.diff(cuts) & 1).astype(bool)
        # An empty profile has no last byte, and no sample types either: protobuf raises the error for it.
        is_odd |= (
            (np.diff(bounds) == 0) | (data[np.minimum(bounds[1:], len(data)) - 1] > 127) if len(data) else True
        )
        if is_odd.any():
            raise NeedsProtobuf(flatnonzero(is_odd))
        cuts >>= 1
        self._cuts: Ints = cuts  # the pair with which each profile begins
        start = np.ascontiguousarray(last[0::2])
        end = last[1::2] + 1
        self._start = start  # where each pair begins, as long as tags have one byte
        self._end = end
        self.tags = data[start]
        size = end - start
        size -= 1
        self._check(flatnonzero(start[1:] != end[:-1]) + 1)
        if len(start) and start[0] != 0:
            raise NeedsProtobuf(np.zeros(1, np.int64))
        # Most values have one byte. The longer ones are put together from their last byte on.
        values = data[end - 1].astype(np.uint64)
        longer, before = flatnonzero(size > 1), 2
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
        """Divide the pairs into segments: runs of pairs that belong to one message.

        A message is one segment, its first, and one more behind each inner message that more of its pairs follow.
        """
        tags, start, end, bounds = self.tags, self._start, self._end, self._bounds
        wire_type = tags & 7
        heads = flatnonzero(wire_type == wire.LENGTH_DELIMITED)  # the pairs with which messages begin
        if len(heads) + np.count_nonzero(wire_type == wire.VARINT) != len(tags):
            self._check(flatnonzero((wire_type != wire.VARINT) & (wire_type != wire.LENGTH_DELIMITED)))
        if not len(heads):
            raise NeedsProtobuf(np.arange(self.count))
        limit = np.repeat(bounds[1:], np.diff(np.searchsorted(heads, self._cuts)))
        length = self.values[heads]
        self._check(heads[length > (limit - end[heads]).view(np.uint64)])
        stop = end[heads] + length.view(np.int64)
        # A message is an inner one if it does not reach beyond all messages before it.
        is_outer = np.empty(len(heads), bool)
        is_outer[0] = True
        np.greater(stop[1:], np.maximum.accumulate(stop)[:-1], out=is_outer[1:])
        outer, inner = flatnonzero(is_outer), flatnonzero(~is_outer)
        message_type = _OUTER_TYPE[tags[heads]]
        parent = np.repeat(outer, np.diff(outer, append=len(heads)) - 1)
        message_type[inner] = _INNER_TYPE[message_type[parent], tags[heads[inner]]]
        self._check(heads[message_type < 0])

        # Usually a message ends where the next one begins. Otherwise the pairs between belong to the outer
        # message.
        next_start = np.empty(len(heads), np.int64)
        next_start[:-1] = start[heads[1:]]
        next_start[-1] = bounds[-1]
        next_start[outer[:-1]] = start[heads[outer[1:]]]
        next_start[outer[-1]] = bounds[-1]
        loose = flatnonzero(stop != next_start)
        # A profile may also begin with pairs of its own.
        leading = self._cuts[:-1][wire_type[self._cuts[:-1]] != wire.LENGTH_DELIMITED]
        first, is_head = heads + 1, np.ones(len(heads), bool)
        if len(loose) or len(leading):
            at = np.searchsorted(start, stop[loose])
            is_last = at == len(start)
            ends_with_pair = is_last | (start[np.where(is_last, 0, at)] == stop[loose])
            self._check(heads[loose[~ends_with_pair | (stop[loose] > next_start[loose])]])
            around = np.full(len(heads), PROFILE, np.int8)
            around[inner] = message_type[parent]
            ends_with_parent = np.zeros(len(heads), bool)
            ends_with_parent[inner] = stop[inner] == stop[parent]
            is_followed = ~is_last & ~ends_with_parent[loose]
            extra = np.concatenate((leading, at[is_followed]))
            extra_type = np.concatenate((np.full(len(leading), PROFILE, np.int8), around[loose[is_followed]]))
            # An extra segment comes before the message that begins with the same pair; it is empty then.
            order = np.argsort(np.concatenate((first * 2 - 1, extra * 2)), kind="stable")
            first = np.concatenate((first, extra))[order]
            is_head = np.concatenate((is_head, np.zeros(len(extra), bool)))[order]
            message_type = np.concatenate((message_type, extra_type))[order]
        # A segment ends where the next one begins, with the pair of a message's head between them.
        self._first: Ints = first
        self._is_head: Bools = is_head  # whether the segment is the first one of its message
        self._type = message_type
        self._count = np.empty(len(first), np.int64)
        self._count[:-1] = first[1:] - is_head[1:] - first[:-1]
        self._count[-1] = len(tags) - first[-1]

    def messages(self, message_type: int) -> "Messages":
        """Return all messages of one type, ordered by profile and within each as encoded."""
        segments = flatnonzero(self._type == message_type)
        first, count = self._first[segments], self._count[segments]
        if message_type == PROFILE:
            row = np.searchsorted(self._cuts, first, side="right") - 1
            return Messages(self, first, count, row, np.arange(self.count))
        is_head = self._is_head[segments]
        # The pair before a message's own is its head.
        profile = np.repeat(
            np.arange(self.count), np.diff(np.searchsorted(first[is_head], self._cuts, side="right"))
        )
        return Messages(self, first, count, None if is_head.all() else np.cumsum(is_head) - 1, profile)

    def count_messages(self, message_type: int | None = None) -> int:
        """Return how many messages there are of one type, or of all."""
        is_counted = self._is_head if message_type is None else (self._type == message_type) & self._is_head
        return int(np.count_nonzero(is_counted))

    def find_parents(self, outer: int, inner: int) -> Ints:
        """Return for each message of type *inner* the number of the message of type *outer* around it."""
        outer_first = self._first[(self._type == outer) & self._is_head]
        inner_first = self._first[(self._type == inner) & self._is_head]
        parents: Ints = np.searchsorted(outer_first, inner_first, side="right") - 1
        return parents

    def _check(self, bad: Ints) -> None:
        """Raise ``NeedsProtobuf`` if there are *bad* pairs."""
        if len(bad):
            raise NeedsProtobuf(np.unique(np.searchsorted(self._cuts, bad, side="right") - 1))


class Messages:
    """The fields of all messages of one type. ``profile`` is the profile that each message is from."""

    def __init__(self, reader: GenericReader, first: Ints, count: Ints, row: Ints | None, profile: Ints) -> None:
        """Hold the segments that begin at the pairs *first* and have *count* pairs.

        *row* is the message of each segment; ``None`` if each message is one segment.
        """
        self._reader, self._first, self._count, self._row = reader, first, count, row
        self.profile = profile

    def __len__(self) -> int:
        return len(self.profile)

    def columns(self, *tags: int) -> list[Words]:
        """Return the values of the fields with these *tags*, each of shape (messages,), 0 where a field is absent.

        Raise ``NeedsProtobuf`` if there are other fields.
        """
        reader, first, count = self._reader, self._first, self._count
        uniform_count = int(count[0]) if len(count) else 0
        if self._row is None and uniform_count <= len(tags) and (count == uniform_count).all():
            # The same fields in the same order, as one encoder writes them: the columns exist already.
            by_tag: dict[int, Words] = {}
            for i in range(uniform_count):
                at = first + i
                tag = reader.tags[at]
                if tag[0] in by_tag or tag[0] not in tags or (tag != tag[0]).any():
                    break
                by_tag[int(tag[0])] = reader.values[at]
            else:
                absent = np.zeros(len(first), np.uint64)
                return [by_tag.get(tag, absent) for tag in tags]
        columns = []
        for row, values in self.fields(*tags):
            column = np.zeros(len(self), np.uint64)
            column[row] = values  # of several values for one row, numpy keeps the last, as protobuf does
            columns.append(column)
        return columns

    def fields(self, *tags: int) -> list[tuple[Ints, Words]]:
        """Return for each tag the message that each of its fields belongs to, and the fields' values, in order.

        Raise ``NeedsProtobuf`` if there are other fields.
        """
        reader = self._reader
        at = expand_ranges(self._first, self._count)
        row = np.repeat(np.arange(len(self)) if self._row is None else self._row, self._count)
        pair_tags = reader.tags[at]
        fields = []
        left = len(at)
        for tag in tags:
            hits = flatnonzero(pair_tags == tag)
            left -= len(hits)
            fields.append((row[hits], reader.values[at[hits]]))
        if left:
            reader._check(at[~np.isin(pair_tags, np.array(tags, np.uint8))])
        return fields
