"""Stacks in text, one a line: ``main;work;sum 12``, from the outermost function to the innermost."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import chain

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.pprof import encode
from profbucket.pprof.numbers import MAX_INT64

_PACKED_PER_ENTRY = 4  # as precheck.count_entries counts
_MAX_FRAMES = 100_000  # of one stack: each becomes an object for a moment
_ENTRIES_PER_FRAME = 4  # a string, a function, a location and its line


@dataclass(frozen=True, slots=True)
class Column:
    """A sample type of the result, whose values are *factor* times those in the text."""

    name: str
    unit: str
    factor: int = 1


def to_pprof(
    text: bytes,
    columns: Sequence[Column],
    limits: Limits,
    *,
    started_at: int = 0,
    duration: int = 0,
    default_value: int | None = None,
) -> bytes:
    """Return the stacks in *text* as a gzip pprof; its period is the factor of the last of *columns*.

    Times are in nanoseconds. A line without a number has *default_value*.

    Raises:
        Invalid: a line has no number, and there is no *default_value*; or its number needs more than 64 bits.
        TooLarge: the profile would have more than ``limits.entries``.
    """
    from profbucket.pprof import profile_pb2

    values = _add_up(text, default_value)
    numbers: dict[bytes, int] = {}  # of functions and locations, from 1
    references = 0
    message = profile_pb2.Profile(time_nanos=started_at, duration_nanos=duration, period=columns[-1].factor)
    for stack, value in values.items():
        names = [name for name in stack.split(b";") if name]
        frames = [numbers.setdefault(name, len(numbers) + 1) for name in reversed(names)]
        message.sample.add(location_id=frames, value=[min(value * column.factor, MAX_INT64) for column in columns])
        references += len(frames)
        entries = len(message.sample) + _ENTRIES_PER_FRAME * len(numbers) + references // _PACKED_PER_ENTRY
        if entries > limits.entries:
            raise limits.too_large("entries", "the stacks have too many functions")
    for number in numbers.values():
        message.location.add(id=number, line=[{"function_id": number}])
        message.function.add(id=number, name=number)
    texts = chain.from_iterable((column.name.encode(), column.unit.encode()) for column in columns)
    message.string_table.extend([b"", *numbers, *texts])
    for index in range(len(numbers) + 1, len(message.string_table), 2):
        message.sample_type.add(type=index, unit=index + 1)
    message.period_type.CopyFrom(message.sample_type[-1])
    return encode(message)


def _add_up(text: bytes, default_value: int | None) -> dict[bytes, int]:
    """Return the sum of each distinct stack."""
    values: dict[bytes, int] = {}
    for number, line in enumerate(map(bytes.strip, BytesIO(text)), 1):
        stack, _, digits = line.rpartition(b" ")
        if stack and digits.isdigit():
            value = int(digits) if len(digits) < 20 else MAX_INT64 + 1
        elif default_value is not None or not line:
            stack, value = line, default_value or 0
        else:
            raise Invalid(
                f"line {number} has no number: {line[-80:].decode(errors='replace')!r}; write a;b;c 12",
                code="invalid_collapsed_stacks",
            )
        if stack.count(b";") >= _MAX_FRAMES:
            raise Invalid(f"line {number} has more than {_MAX_FRAMES} functions", code="invalid_collapsed_stacks")
        if value > MAX_INT64:
            problem = f"line {number}: {digits[:80].decode()} is not below 2^63"
            raise Invalid(problem, code="invalid_collapsed_stacks")
        if value:
            values[stack] = min(values.get(stack, 0) + value, MAX_INT64)
    return values
