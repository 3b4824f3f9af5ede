"""Go execution traces: check the header and read the start time.

A trace is a header of 16 bytes, ``go 1.26 trace`` padded with zeros, followed by batches::

    EventBatch, generation, thread, time, size, then size bytes

Numbers are varints. Since Go 1.25, the runtime flushes the sync batch of a generation before any other, and that
batch contains the wall clock::

    Sync, Frequency, frequency, ClockSnapshot, ticks since time, monotonic clock, seconds, nanoseconds

Traces of older versions contain no wall clock.
"""

import re

from profbucket.errors import Invalid
from profbucket.times import LATEST, SECOND

_HEADER = re.compile(rb"go 1\.(\d{1,3}) trace\x00+", re.ASCII)
_HEADER_BYTES = 16

_EVENT_BATCH, _EXPERIMENTAL_BATCH = 1, 49
_SYNC, _FREQUENCY, _CLOCK_SNAPSHOT = 50, 8, 51

_FIRST_MINOR_WITH_CLOCK = 25  # Go 1.25
_MAX_BATCHES = 1000  # a thread can flush a batch before the sync batch, but hardly many


def started_at(data: bytes) -> int:
    """Return when the trace in *data* started, in nanoseconds since 1970, or 0 if it contains no wall clock.

    Raise ``Invalid`` without the header of a trace. The rest is searched for the clock but not validated: a
    truncated trace is still useful.
    """
    header = _HEADER.fullmatch(data[:_HEADER_BYTES])
    if not header or len(data) < _HEADER_BYTES:
        raise Invalid("not a Go execution trace: the header 'go 1.N trace' is missing", code="invalid_trace")
    if int(header[1]) < _FIRST_MINOR_WITH_CLOCK:
        return 0
    try:
        return _find_clock(data)
    except IndexError:
        return 0  # the trace is truncated


def _find_clock(data: bytes) -> int:
    """Return the wall clock of the first sync batch, or 0; raise ``IndexError`` if *data* ends before it."""
    at = _HEADER_BYTES
    for _ in range(_MAX_BATCHES):
        batch_type = data[at]
        if batch_type not in (_EVENT_BATCH, _EXPERIMENTAL_BATCH):
            return 0
        at += 1 if batch_type == _EVENT_BATCH else 2  # an experimental batch has the number of its experiment
        for _ in ("generation", "thread", "time"):
            _, at = _read_varint(data, at)
        size, at = _read_varint(data, at)
        if batch_type == _EVENT_BATCH and size and data[at] == _SYNC:
            return _read_clock_snapshot(data[at + 1 : at + size])
        at += size
    return 0


def _read_clock_snapshot(events: bytes) -> int:
    """Return the wall clock in the content of a sync batch, or 0 if it is not valid."""
    at = 0
    if events[at] == _FREQUENCY:
        _, at = _read_varint(events, at + 1)
    if events[at] != _CLOCK_SNAPSHOT:
        return 0
    at += 1
    for _ in ("ticks", "monotonic clock"):
        _, at = _read_varint(events, at)
    seconds, at = _read_varint(events, at)
    nanos, at = _read_varint(events, at)
    time = seconds * SECOND + nanos
    return time if nanos < SECOND and time <= LATEST else 0


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the varint at *at* and the position after it; raise ``IndexError`` if it does not end."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise IndexError("varint of more than ten bytes")
