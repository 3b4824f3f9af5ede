"""Remove frames that a profile asks not to show: mostly those of the profiler itself."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from profbucket.errors import Invalid
from profbucket.model.regex import compile_pattern
from profbucket.pprof import profile_pb2
from profbucket.pprof.report.function_names import format_function_names, intern_strings

# A name up to the parenthesis that begins its parameters; some parentheses are part of a C++ name.
_PARAMETERS = re.compile(rb"((?:\(anonymous namespace\)|operator\(\)|[^(])*)\(.*", re.DOTALL)


def drop_frames(raw: bytes) -> bytes:
    """Return the valid pprof *raw* without the frames that it asks to drop; it then asks for none."""
    message = profile_pb2.Profile.FromString(raw)
    prune_message(message)
    return message.SerializeToString()


def prune_message(message: profile_pb2.Profile) -> None:
    """Remove the frames that the valid *message* asks to drop; it then asks for none.

    A frame that matches ``drop_frames`` (RE2, as a whole) and not ``keep_frames`` is removed with all that it
    called, but only below the first frame that is kept, so that no stack is removed entirely.
    """
    kept = _count_kept_lines(message)
    message.drop_frames = message.keep_frames = 0
    if not kept:
        return
    for sample in message.sample:
        stack = _prune_stack(sample.location_id, kept)
        if len(stack) < len(sample.location_id):
            sample.location_id[:] = stack
    for location in message.location:
        if count := kept.get(location.id):
            del location.line[: len(location.line) - count]


def _count_kept_lines(message: profile_pb2.Profile) -> dict[int, int]:
    """Return for each location with a frame to drop how many lines, the callers of that frame, are kept."""
    strings = message.string_table
    drop, keep = _compile(strings[message.drop_frames]), _compile(strings[message.keep_frames])
    if drop is None or (message.keep_frames and keep is None):
        return {}
    dropped = set()
    for function_id, name in format_function_names(message, intern_strings(message)).items():
        match = _PARAMETERS.fullmatch(name.removeprefix(b"."))
        simple_name = match[1] if match else name.removeprefix(b".")
        if name and drop.fullmatch(simple_name) and not (keep and keep.fullmatch(simple_name)):
            dropped.add(function_id)
    kept = {}
    for location in message.location if dropped else ():
        outermost = max((i for i, line in enumerate(location.line) if line.function_id in dropped), default=-1)
        if outermost >= 0:
            kept[location.id] = len(location.line) - outermost - 1
    return kept


def _prune_stack(stack: Sequence[int], kept: Mapping[int, int]) -> Sequence[int]:
    """Return *stack*, leaf first, cut at the outermost dropped frame that has a kept frame around it."""
    has_kept = False
    for i in range(len(stack) - 1, -1, -1):
        count = kept.get(stack[i])
        if count is None:
            has_kept = True
        elif has_kept:
            return stack[i:] if count else stack[i + 1 :]
    return stack


def _compile(pattern: bytes) -> Any:
    """Return the compiled *pattern*; ``None`` if it is empty or invalid, which pprof ignores."""
    if not pattern:
        return None
    try:
        return compile_pattern(pattern)
    except Invalid:
        return None
