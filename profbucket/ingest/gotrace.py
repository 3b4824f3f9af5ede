"""Go execution traces: whether bytes are one, and when it was begun. Nothing else of a trace is read.

A trace is a header of 16 bytes, ``go 1.26 trace`` and zeros, and batches::

    EventBatch, generation, thread, time, size, then size bytes

Numbers are unsigned LEB128. Since Go 1.25 the runtime flushes the sync batch of a generation before any other, and
it holds what the wall clock showed::

    Sync, Frequency, frequency, ClockSnapshot, ticks since time, monotonic clock, seconds, nanoseconds

Traces of older versions hold no wall clock.
"""

import re

from profbucket.errors import Invalid
from profbucket.times import LATEST, SECOND

_HEADER = re.compile(rb"go 1\.(\d{1,3}) trace\x00+", re.ASCII)
_HEADER_BYTES = 16

_EVENT_BATCH, _EXPERIMENTAL_BATCH = 1, 49
_SYNC, _FREQUENCY, _CLOCK_SNAPSHOT = 50, 8, 51

_FIRST_WITH_CLOCK = 25
_MOST_BATCHES = 1000  # a thread can fill a batch before the sync batch is out, hardly more of them


def started_at(data: bytes) -> int:
    """When the trace in *data* was begun, in nanoseconds since 1970; 0 where it does not say.

    Raise ``Invalid`` for what does not begin as a trace does. What follows is looked through for the clock and not
    checked: a trace that was cut short is still of use.
    """
    header = _HEADER.fullmatch(data[:_HEADER_BYTES])
    if not header or len(data) < _HEADER_BYTES:
        raise Invalid("not a Go execution trace: it does not begin with 'go 1.N trace'")
    if int(header[1]) < _FIRST_WITH_CLOCK:
        return 0
    try:
        return _clock(data)
    except IndexError:
        return 0  # no more bytes


def _clock(data: bytes) -> int:
    """What the first sync batch says, or 0; raise ``IndexError`` where *data* ends before that is known."""
    at = _HEADER_BYTES
    for _ in range(_MOST_BATCHES):
        kind = data[at]
        if kind not in (_EVENT_BATCH, _EXPERIMENTAL_BATCH):
            return 0
        at += 1 if kind == _EVENT_BATCH else 2  # an experimental batch says of which experiment
        for _ in ("generation", "thread", "time"):
            _, at = _number(data, at)
        size, at = _number(data, at)
        if kind == _EVENT_BATCH and size and data[at] == _SYNC:
            return _snapshot(data[at + 1 : at + size])
        at += size
    return 0


def _snapshot(events: bytes) -> int:
    """The wall clock in the content of a sync batch."""
    at = 0
    if events[at] == _FREQUENCY:
        _, at = _number(events, at + 1)
    if events[at] != _CLOCK_SNAPSHOT:
        return 0
    at += 1
    for _ in ("ticks", "monotonic clock"):
        _, at = _number(events, at)
    seconds, at = _number(events, at)
    nanos, at = _number(events, at)
    time = seconds * SECOND + nanos
    return time if nanos < SECOND and time <= LATEST else 0


def _number(data: bytes, at: int) -> tuple[int, int]:
    """The number at *at* and where it ends; raise ``IndexError`` where *data* ends within it or it never does."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise IndexError("a number of more than ten bytes")
