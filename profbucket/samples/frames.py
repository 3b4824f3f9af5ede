"""The stacks of merged samples as columns, with the names that `go tool pprof` shows."""

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from profbucket.pprof.columnar.accumulator import Accumulator
from profbucket.pprof.columnar.arrays import Ints, expand_ranges, flatnonzero, to_offsets
from profbucket.pprof.columnar.select import (
    Locations,
    Samples,
    select_functions,
    select_locations,
    select_samples,
)
from profbucket.pprof.report.function_names import format_function_name
from profbucket.pprof.report.stacks import name_binary, shorten_name

_WORD = re.compile(r"\w+", re.ASCII)


class Texts:
    """Distinct texts by number."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}

    def intern(self, text: str) -> int:
        number = self._numbers.setdefault(text, len(self.texts))
        if number == len(self.texts):
            self.texts.append(text)
        return number


@dataclass(frozen=True, slots=True)
class Frames:
    """The stacks of S samples that have L locations with N frames in all, inlined ones included.

    The frames of a location stand together, callers first. ``name``, ``file`` and ``mapping`` are numbers of
    *texts*; so are those of a leaf, which are 0, the empty text, for a sample without a stack.
    """

    texts: list[str]
    name: Ints  # (N,)
    file: Ints  # (N,)
    line: Ints  # (N,)
    first_frame: Ints  # of each location, (L,)
    frame_count: Ints  # of each location, (L,)
    location: Ints  # of all stacks, end to end, leaf first
    first_location: Ints  # of each sample, (S,)
    location_count: Ints  # of each sample, (S,)
    leaf_name: Ints  # (S,)
    leaf_mapping: Ints  # (S,)
    stack_length: Ints  # frames of each sample, (S,)

    def expand(self, samples: Ints) -> Ints:
        """Return the frames of the stacks of *samples* end to end, the root of each first."""
        backwards = samples[::-1]
        ranges = expand_ranges(self.first_location[backwards], self.location_count[backwards])
        location = self.location[ranges][::-1]
        return expand_ranges(self.first_frame[location], self.frame_count[location])

    def mark_first(self, samples: Ints, stack: Ints) -> npt.NDArray[np.bool_]:
        """Return which frames of *stack*, the stacks of *samples*, are the first of their function there."""
        number = np.repeat(np.arange(len(samples)), self.stack_length[samples])
        _, first = np.unique(number * len(self.texts) + self.name[stack], return_index=True)
        is_first = np.zeros(len(stack), np.bool_)
        is_first[first] = True
        return is_first


def collect_frames(accumulator: Accumulator) -> tuple[Frames, Samples]:
    """Return the frames and labels of all samples of *accumulator*."""
    samples = select_samples(accumulator, keep_zeros=True)
    locations = select_locations(accumulator, samples)
    texts = Texts()
    texts.intern("")
    mapping, binary = _name_mappings(accumulator, texts)
    name, file = _name_functions(accumulator, locations, texts)
    # Leaf first, as in a profile; a location without lines is one frame, called by its binary.
    has_lines = locations.line_count > 0
    frame_count = np.maximum(locations.line_count, 1)
    first = to_offsets(frame_count)
    at_lines = expand_ranges(first[:-1][has_lines], locations.line_count[has_lines])
    frame_name, frame_file, frame_line = np.zeros((3, first[-1]), np.int64)
    frame_name[at_lines], frame_file[at_lines] = name[locations.line_function], file[locations.line_function]
    frame_line[at_lines] = locations.line_number.view(np.int64)
    nameless = flatnonzero(frame_name == 0)
    frame_name[nameless] = binary[np.repeat(locations.mapping, frame_count)[nameless]]
    position = locations.ids.view(np.int64)[samples.stack_location] - 1
    leaf_frame, leaf_location = _find_leaves(samples, position, first)
    stack_frames = to_offsets(frame_count[position])[to_offsets(samples.stack_count)]
    frames = Frames(
        texts=texts.texts,
        name=frame_name[::-1],
        file=frame_file[::-1],
        line=frame_line[::-1],
        first_frame=first[-1] - first[1:],
        frame_count=frame_count,
        location=position,
        first_location=to_offsets(samples.stack_count)[:-1],
        location_count=samples.stack_count,
        leaf_name=np.append(frame_name, 0)[leaf_frame],
        leaf_mapping=np.append(mapping[locations.mapping], 0)[leaf_location],
        stack_length=np.diff(stack_frames),
    )
    return frames, samples


def name_package(function: str) -> str:
    """Return the package of a *function* as pprof finds it; an empty text for one without.

    It ends at the first ``.`` or ``::`` after the last slash: ``github.com/a/b`` of ``github.com/a/b.(*T).Run``.
    """
    folder, slash, rest = function.rpartition("/")
    word = _WORD.match(rest)
    if word is None or not rest[word.end() :].startswith((".", "::")):
        return ""
    return f"{folder}{slash}{word[0]}"


def _find_leaves(samples: Samples, position: Ints, first: Ints) -> tuple[Ints, Ints]:
    """Return the leaf's frame and location of each sample; -1 for samples without a stack."""
    has_stack = samples.stack_count > 0
    frame, location = np.full((2, len(has_stack)), -1)
    location[has_stack] = position[to_offsets(samples.stack_count)[:-1][has_stack]]
    frame[has_stack] = first[location[has_stack]]
    return frame, location


def _name_mappings(accumulator: Accumulator, texts: Texts) -> tuple[Ints, Ints]:
    """Return the texts of the files and of the nameless functions of mappings, by index + 1; 0 is none."""
    paths = [b"", *(base[3] for base in accumulator.mapping_bases)]
    file = [texts.intern(shorten_name(path)) for path in paths]
    return np.array(file), np.array([texts.intern(name_binary(path)) for path in paths])


def _name_functions(accumulator: Accumulator, locations: Locations, texts: Texts) -> tuple[Ints, Ints]:
    """Return the texts of the names and files of functions, by index; 0 for those that are not used."""
    functions = select_functions(accumulator, locations)
    name, file = np.zeros((2, len(functions.ids)), np.int64)
    columns = (functions.name.tolist(), functions.system_name.tolist(), functions.file.tolist())
    for index, *strings in zip(functions.index.tolist(), *columns, strict=True):
        own_name, system_name, path = map(accumulator.string, strings)
        name[index] = texts.intern(shorten_name(format_function_name(own_name, system_name)))
        file[index] = texts.intern(shorten_name(path))
    return name, file
