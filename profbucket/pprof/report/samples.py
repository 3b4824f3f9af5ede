"""Selection of the samples of a profile, by the functions that called them or the spans they belong to."""

from collections.abc import Callable, Collection, Mapping, Sequence

from profbucket.pprof import profile_pb2
from profbucket.pprof.report.function_names import format_function_names, intern_strings

SPAN_LABELS = frozenset({b"profile_id", b"span_id", b"span id"})  # their keys, by profiler


def keep_call_site(message: profile_pb2.Profile, call_site: Sequence[str]) -> None:
    """Remove the samples of *message* whose stacks do not begin with the functions *call_site*, the root first."""
    if not call_site:
        return
    names = format_function_names(message, intern_strings(message))
    wanted = [name.encode() for name in call_site]
    frames = {
        location.id: [names[line.function_id] for line in reversed(location.line)] for location in message.location
    }
    _keep(message, lambda sample: _begins_with(sample, frames, wanted))


def keep_spans(message: profile_pb2.Profile, spans: Collection[str]) -> None:
    """Remove the samples of *message* that have no label with the id of one of *spans*."""
    strings = intern_strings(message)
    # A label with a number has the text "", which is no id.
    ids = {number for number, text in enumerate(strings) if text and text.decode(errors="replace") in spans}
    keys = {number for number, text in enumerate(strings) if text in SPAN_LABELS}
    _keep(message, lambda sample: any(label.key in keys and label.str in ids for label in sample.label))


def _begins_with(
    sample: profile_pb2.Sample, frames: Mapping[int, Sequence[bytes]], functions: Sequence[bytes]
) -> bool:
    stack: list[bytes] = []
    for location_id in reversed(sample.location_id):
        stack += frames[location_id]
        if len(stack) >= len(functions):
            break
    return stack[: len(functions)] == functions


def _keep(message: profile_pb2.Profile, is_kept: Callable[[profile_pb2.Sample], bool]) -> None:
    samples = [sample for sample in message.sample if is_kept(sample)]
    del message.sample[:]
    message.sample.extend(samples)
