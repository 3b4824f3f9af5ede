"""The stacks of profiles as columns of numbered functions, the root of each first."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np

from profbucket.limits import Limits
from profbucket.pprof import profile_pb2
from profbucket.pprof.columnar.arrays import Ints, Words, expand_ranges, to_offsets
from profbucket.pprof.report.function_names import format_function_names, intern_strings
from profbucket.pprof.report.prune import prune_message

_MAX_NAME_LENGTH = 400  # characters; C++ templates can make names of a megabyte
_MAX_SAFE_SUM = 2**62  # sums of absolute values below this cannot overflow int64


@dataclass(slots=True)
class Functions:
    """The functions of one or more profiles, by number. A function without a name is called by its binary.

    ``lines`` are where functions begin if their profiler knows, or else the lowest line seen in them.
    """

    names: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    _numbers: dict[tuple[bytes, bytes, int], int] = field(default_factory=dict)
    # Many functions may share one long file name or binary.
    _shortened: dict[bytes, str] = field(default_factory=dict)
    _binary_names: dict[bytes, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def intern(self, name: bytes, binary: bytes, start_line: int, file: bytes, line: int) -> int:
        """Return the number of a function. As in pprof, equal names are one function, whatever their files."""
        identity = (name, b"", 0) if name else (b"", binary, start_line)
        number = self._numbers.setdefault(identity, len(self.names))
        if number == len(self.names):
            self.names.append(self._shorten(name) if name else self._name_binary(binary))
            self.files.append(self._shorten(file))
            self.lines.append(start_line or line)
        elif not start_line and line:
            self.lines[number] = min(self.lines[number] or line, line)
        return number

    def find(self, name: str) -> list[int]:
        """Return the numbers of the functions shown as *name*."""
        return [number for number, known in enumerate(self.names) if known == name]

    def _shorten(self, name: bytes) -> str:
        short = self._shortened.get(name)
        if short is None:
            short = self._shortened[name] = shorten_name(name)
        return short

    def _name_binary(self, path: bytes) -> str:
        name = self._binary_names.get(path)
        if name is None:
            name = self._binary_names[path] = name_binary(path)
        return name


def name_binary(path: bytes) -> str:
    """Return what stands for the functions without a name in the binary at *path*, which may be empty."""
    base = path.rstrip(b"/").rpartition(b"/")[2]
    return shorten_name(b"[" + base + b"]" if base else b"<unknown>")


def shorten_name(name: bytes) -> str:
    """Return *name* as text; a very long one is cut and gets a hash, so that it stays distinct."""
    text = name.decode(errors="replace")
    if len(text) <= _MAX_NAME_LENGTH:
        return text
    return f"{text[:_MAX_NAME_LENGTH]}… #{sha256(name).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Stacks:
    """S stacks end to end: stack i is ``frames[ends[i]:ends[i + 1]]``."""

    frames: Ints  # numbers of functions, the root of each stack first
    ends: Ints  # (S + 1,)

    def __len__(self) -> int:
        return len(self.ends) - 1

    @property
    def lengths(self) -> Ints:
        """The number of frames of each stack. Shape: (S,)."""
        return np.diff(self.ends)

    @property
    def owners(self) -> Ints:
        """The stack that each frame is in. Shape: that of ``frames``."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def select(self, rows: Ints) -> "Stacks":
        """Return the stacks with the numbers *rows*."""
        lengths = self.lengths[rows]
        return Stacks(self.frames[expand_ranges(self.ends[rows], lengths)], to_offsets(lengths))


def check_frames(count: int, limits: Limits) -> None:
    """Raise ``TooMany`` if *count*, the number of frames in the stacks of a report, exceeds ``limits.frames``.

    A location with N inlined functions that is N times in a stack is N² frames, so they are counted before they
    are expanded.
    """
    if count > limits.frames:
        raise limits.too_many(
            "frames",
            f"the stacks have more than {limits.frames} frames; choose a shorter range, or select by labels",
        )


def collect_stacks(
    message: profile_pb2.Profile,
    column: int,
    functions: Functions,
    limits: Limits = Limits(),
    *,
    already: int = 0,
) -> tuple[Stacks, Ints]:
    """Return the stacks of *message* whose value in sample type *column* is not 0, and these values.

    Frames that the profile asks to drop are removed from *message*, as by pprof. New functions are added to
    *functions*. Raise ``TooMany`` if there are more than ``limits.frames`` with the *already* collected ones.
    """
    prune_message(message)
    strings = intern_strings(message)
    names = format_function_names(message, strings)
    location_ids, first_frame, frame_count, location_frames = _collect_locations(
        message, strings, names, functions
    )
    # Arrays of numbers: the Python objects of a million stacks take a gigabyte.
    ids, lengths, values = array("Q"), array("q"), array("q")
    for sample in message.sample:
        if value := sample.value[column]:
            before = len(ids)
            ids.extend(sample.location_id)
            check_frames(already + len(ids), limits)  # each location has one frame or more
            lengths.append(len(ids) - before)
            values.append(value)
    # Reversed as a whole, each stack begins with its root; the order of stacks does not matter.
    location = np.searchsorted(location_ids, np.frombuffer(ids, np.uint64)[::-1])
    del ids
    counts = frame_count[location]
    check_frames(already + int(counts.sum()), limits)
    frames = location_frames[expand_ranges(first_frame[location], counts)]
    ends = to_offsets(counts)[to_offsets(np.frombuffer(lengths, np.int64)[::-1])]
    return Stacks(frames, ends), np.frombuffer(values, np.int64)[::-1]


def concatenate_stacks(parts: Sequence[tuple[Stacks, Ints]]) -> tuple[Stacks, Ints]:
    """Return the stacks of several profiles, one profile after the other, and their values.

    Values have a column for each profile; shape: (stacks, profiles). They are Python's integers if their sums
    might overflow 64 bits.
    """
    size = sum(float(np.abs(values.astype(float)).sum()) for _, values in parts)
    columns = np.zeros(
        (sum(len(values) for _, values in parts), len(parts)), np.int64 if size < _MAX_SAFE_SUM else object
    )
    begin = 0
    for side, (_, values) in enumerate(parts):
        columns[begin : begin + len(values), side] = values
        begin += len(values)
    lengths = np.concatenate([stacks.lengths for stacks, _ in parts])
    return Stacks(np.concatenate([stacks.frames for stacks, _ in parts]), to_offsets(lengths)), columns


def _collect_locations(
    message: profile_pb2.Profile, strings: Sequence[bytes], names: Mapping[int, bytes], functions: Functions
) -> tuple[Words, Ints, Ints, Ints]:
    """Return the ids of the locations, sorted, their first frames, their numbers of frames, and all frames.

    The frames of a location stand together, a caller before what it calls. All but the last have the shape
    (locations,).
    """
    by_id = {f.id: f for f in message.function}
    binaries = {m.id: strings[m.filename] for m in message.mapping} | {0: b""}
    ids, counts, frames = array("Q"), array("q"), array("q")
    for location in message.location:
        binary = binaries[location.mapping_id]
        for line in reversed(location.line):
            function = by_id[line.function_id]
            file = strings[function.filename]
            frames.append(functions.intern(names[function.id], binary, function.start_line, file, line.line))
        if not location.line:
            frames.append(functions.intern(b"", binary, 0, b"", 0))
        ids.append(location.id)
        counts.append(max(1, len(location.line)))
    order = np.argsort(np.frombuffer(ids, np.uint64))
    count = np.frombuffer(counts, np.int64)
    return (
        np.frombuffer(ids, np.uint64)[order],
        to_offsets(count)[:-1][order],
        count[order],
        np.frombuffer(frames, np.int64),
    )
