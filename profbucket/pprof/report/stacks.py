"""The stacks of a profile as columns of numbered functions, the root of each first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain

import numpy as np

from profbucket.pprof import profile_pb2
from profbucket.pprof.columnar.arrays import Ints, Words, offsets, ranges
from profbucket.pprof.report.function_names import shown_name
from profbucket.pprof.report.prune import pruned

_LONGEST = 400  # characters of a name that are shown; templates can make names of a megabyte
_EXACT = 2**62  # sums below it are exact in 64 bits


@dataclass(slots=True)
class Functions:
    """Functions by number, those of several profiles together. What has no name is called by its binary.

    ``lines`` say where a function begins, as far as its profiler knows, else the lowest line seen in it.
    """

    names: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    _numbers: dict[tuple[bytes, bytes, int], int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def number(self, name: bytes, binary: bytes, start: int, file: bytes, line: int) -> int:
        """The number of a function; as in pprof a name is one function, whatever file it is in."""
        identity = (name, b"", 0) if name else (b"", binary, start)
        number = self._numbers.setdefault(identity, len(self.names))
        if number == len(self.names):
            base = binary.rstrip(b"/").rpartition(b"/")[2]
            self.names.append(clean_name(name or (b"[" + base + b"]" if base else b"<unknown>")))
            self.files.append(clean_name(file))
            self.lines.append(start or line)
        elif not start and line:
            self.lines[number] = min(self.lines[number] or line, line)
        return number

    def called(self, name: str) -> list[int]:
        """The numbers of the functions that are shown as *name*."""
        return [number for number, one in enumerate(self.names) if one == name]


def clean_name(name: bytes) -> str:
    """*name* as a text; of one that is very long the beginning, and a hash that keeps it apart from others."""
    text = name.decode(errors="replace")
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}… #{sha256(name).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Stacks:
    """Stacks end to end: that of number i is ``frames[ends[i]:ends[i + 1]]``, numbers of functions, root first."""

    frames: Ints
    ends: Ints

    def __len__(self) -> int:
        return len(self.ends) - 1

    @property
    def lengths(self) -> Ints:
        return np.diff(self.ends)

    @property
    def owners(self) -> Ints:
        """The stack of each frame."""
        return np.repeat(np.arange(len(self)), self.lengths)


def stacks(message: profile_pb2.Profile, column: int, functions: Functions) -> tuple[Stacks, list[int]]:
    """The stacks of *message*, and their values in the sample type number *column*, those that are not zero.

    Frames that the profile asks to drop are left out, as pprof leaves them out. *functions* gets what is new.
    """
    text = message.string_table
    names = {f.id: shown_name(text[f.name], text[f.system_name]) for f in message.function}
    lines = {location.id: [line.function_id for line in location.line] for location in message.location}
    samples, shown_lines = pruned(message, lines, names)
    ids, count, inner = _locations(message, names, shown_lines, functions)
    kept, values = [], []
    for places, sample in zip(samples, message.sample, strict=True):
        if value := sample.value[column]:
            kept.append(places)
            values.append(value)
    length = np.fromiter(map(len, kept), np.int64, len(kept))
    location = np.fromiter(chain.from_iterable(kept), np.uint64, int(length.sum()))
    # Reversed as a whole each stack begins with its root, and the order of stacks says nothing.
    place = np.searchsorted(ids, location[::-1])
    frames = inner[ranges(offsets(count)[place], count[place])]
    ends = offsets(count[place])[offsets(length[::-1])]
    return Stacks(frames, ends), values[::-1]


def together(parts: Sequence[tuple[Stacks, list[int]]]) -> tuple[Stacks, Ints]:
    """Stacks of several profiles as one, and their values, with a column for each profile.

    Values are Python's integers where 64 bits might not hold their sums.
    """
    everything = list(chain.from_iterable(values for _, values in parts))
    exact = sum(map(abs, everything)) < _EXACT
    columns = np.zeros((len(everything), len(parts)), np.int64 if exact else object)
    begin = 0
    for side, (_, values) in enumerate(parts):
        columns[begin : begin + len(values), side] = values
        begin += len(values)
    lengths = np.concatenate([part.lengths for part, _ in parts])
    return Stacks(np.concatenate([part.frames for part, _ in parts]), offsets(lengths)), columns


def _locations(
    message: profile_pb2.Profile,
    names: Mapping[int, bytes],
    lines: Mapping[int, Sequence[int]],
    functions: Functions,
) -> tuple[Words, Ints, Ints]:
    """The ids of locations, sorted; how many functions each has; and those of all, a caller first."""
    text = message.string_table
    known = {f.id: f for f in message.function}
    binaries = {m.id: text[m.filename] for m in message.mapping} | {0: b""}
    found: list[int] = []
    counts: list[int] = []
    locations = sorted(message.location, key=lambda location: location.id)
    for location in locations:
        binary = binaries[location.mapping_id]
        kept = location.line[len(location.line) - len(lines[location.id]) :]
        for line in reversed(kept):
            f = known[line.function_id]
            found.append(functions.number(names[f.id], binary, f.start_line, text[f.filename], line.line))
        if not kept:
            found.append(functions.number(b"", binary, 0, b"", 0))
        counts.append(max(1, len(kept)))
    ids = np.fromiter((location.id for location in locations), np.uint64, len(locations))
    return ids, np.array(counts, np.int64), np.array(found, np.int64)
