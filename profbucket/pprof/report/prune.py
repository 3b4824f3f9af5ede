"""Remove frames that a profile asks not to show: mostly those of the profiler itself."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from profbucket.errors import Invalid
from profbucket.model.regex import compile_pattern
from profbucket.pprof import profile_pb2
from profbucket.pprof.report.function_names import format_function_name

# A name up to the parenthesis that begins its parameters; some parentheses are part of a C++ name.
_PARAMETERS = re.compile(rb"((?:\(anonymous namespace\)|operator\(\)|[^(])*)\(.*", re.DOTALL)


def drop_frames(raw: bytes) -> bytes:
    """Return the valid pprof *raw* without the frames that it asks to drop; it then asks for none."""
    message = profile_pb2.Profile.FromString(raw)
    prune_message(message)
    return message.SerializeToString()


def prune_message(message: profile_pb2.Profile) -> None:
    """Remove the frames that the valid *message* asks to drop; it then asks for none."""
    if not message.drop_frames:
        message.keep_frames = 0
        return
    strings = list(message.string_table)
    names = {f.id: format_function_name(strings[f.name], strings[f.system_name]) for f in message.function}
    lines = {location.id: [line.function_id for line in location.line] for location in message.location}
    stacks, kept_lines = prune_frames(message, lines, names)
    for sample, stack in zip(message.sample, stacks, strict=True):
        if len(stack) < len(sample.location_id):
            sample.location_id[:] = stack
    for location in message.location:
        del location.line[: len(location.line) - len(kept_lines[location.id])]
    message.drop_frames = message.keep_frames = 0


def prune_frames(
    message: profile_pb2.Profile, lines: Mapping[int, Sequence[int]], names: Mapping[int, bytes]
) -> tuple[Iterator[Sequence[int]], Mapping[int, Sequence[int]]]:
    """Return the locations of each sample, and the functions of each location, without the frames to drop.

    *lines* are the functions of each location, innermost first; *names* are those of the functions. A frame that
    matches ``drop_frames`` (RE2, as a whole) and not ``keep_frames`` is removed with all that it called, but only
    below the first frame that is kept, so that no stack is removed entirely.
    """
    # One at a time: the Python objects of a million stacks are larger than the message.
    stacks = (sample.location_id for sample in message.sample)
    strings = message.string_table
    drop, keep = _compile(strings[message.drop_frames]), _compile(strings[message.keep_frames])
    if drop is None or (message.keep_frames and keep is None):
        return stacks, lines
    dropped = set()
    for function, name in names.items():
        match = _PARAMETERS.fullmatch(name.removeprefix(b"."))
        simple_name = match[1] if match else name.removeprefix(b".")
        if name and drop.fullmatch(simple_name) and not (keep and keep.fullmatch(simple_name)):
            dropped.add(function)
    kept_lines: dict[int, Sequence[int]] = {}
    for location, functions in lines.items():
        outermost = max((i for i, function in enumerate(functions) if function in dropped), default=-1)
        kept_lines[location] = functions[outermost + 1 :]
    return (_prune_stack(stack, lines, kept_lines) for stack in stacks), {
        location: functions or lines[location] for location, functions in kept_lines.items()
    }


def _prune_stack(
    stack: Sequence[int], lines: Mapping[int, Sequence[int]], kept_lines: Mapping[int, Sequence[int]]
) -> Sequence[int]:
    """Return *stack*, leaf first, cut at the outermost dropped frame that has a kept frame around it."""
    has_kept = False
    for i in range(len(stack) - 1, -1, -1):
        location = stack[i]
        if len(kept_lines[location]) == len(lines[location]):
            has_kept = True
        elif has_kept:
            return stack[i:] if kept_lines[location] else stack[i + 1 :]
    return stack


def _compile(pattern: bytes) -> Any:
    """Return the compiled *pattern*; ``None`` if it is empty or invalid, which pprof ignores."""
    if not pattern:
        return None
    try:
        return compile_pattern(pattern)
    except Invalid:
        return None
