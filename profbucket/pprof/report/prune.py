"""Frames that a profiler asks not to show: those of itself, mostly."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from profbucket.errors import Invalid
from profbucket.model.regex import compile_pattern
from profbucket.pprof import profile_pb2

# The parenthesis in which the parameters begin, but not those that are part of a C++ name.
_PARAMETERS = re.compile(rb"((?:\(anonymous namespace\)|operator\(\)|[^(])*)\(.*", re.DOTALL)


def pruned(
    message: profile_pb2.Profile, lines: Mapping[int, Sequence[int]], names: Mapping[int, bytes]
) -> tuple[Sequence[Sequence[int]], Mapping[int, Sequence[int]]]:
    """The locations of each sample, and the functions of each location, without what the profile asks to drop.

    *lines* are the functions of each location, innermost first, *names* those of the functions. A frame that
    matches ``drop_frames`` (RE2, as a whole) and not ``keep_frames`` disappears with all that it called, but only
    below the first frame that is not dropped, so that no stack disappears altogether.
    """
    stacks = [sample.location_id for sample in message.sample]
    text = message.string_table
    drop, keep = _compile(text[message.drop_frames]), _compile(text[message.keep_frames])
    if drop is None or (message.keep_frames and keep is None):
        return stacks, lines
    unwanted = set()
    for function, name in names.items():
        match = _PARAMETERS.fullmatch(name.removeprefix(b"."))
        simple = match[1] if match else name.removeprefix(b".")
        if name and drop.fullmatch(simple) and not (keep and keep.fullmatch(simple)):
            unwanted.add(function)
    kept: dict[int, Sequence[int]] = {}
    for location, functions in lines.items():
        outermost = max((i for i, function in enumerate(functions) if function in unwanted), default=-1)
        kept[location] = functions[outermost + 1 :]
    return [_cut(stack, lines, kept) for stack in stacks], {
        location: functions or lines[location] for location, functions in kept.items()
    }


def _cut(
    stack: Sequence[int], lines: Mapping[int, Sequence[int]], kept: Mapping[int, Sequence[int]]
) -> Sequence[int]:
    wanted = False
    for i in range(len(stack) - 1, -1, -1):
        location = stack[i]
        if len(kept[location]) == len(lines[location]):
            wanted = True
        elif wanted:
            return stack[i:] if kept[location] else stack[i + 1 :]
    return stack


def _compile(pattern: bytes) -> Any:
    """*pattern*, or ``None`` where there is none, or none that RE2 can read: pprof ignores those as well."""
    if not pattern:
        return None
    try:
        return compile_pattern(pattern)
    except Invalid:
        return None
