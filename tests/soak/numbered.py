"""Profiles whose merge shows which of them it holds, and that each was counted once."""

from collections import defaultdict
from collections.abc import Sequence

from profbucket.pprof import decode
from tests.support.profiles import Sample, encode, profile, stack

DAY_BEGIN = 1_717_200_000 * 10**9  # 2024-06-01T00:00:00Z: long over, so that it can be compacted

_SHARES = 3  # profiles with the same remainder share a stack

_PERIOD_NANOSECONDS = 10_000_000


def numbered_profile(number: int, time_nanos: int, *, gzip: bool = True) -> bytes:
    """Return the profile *number*.

    Of its samples one has a stack that all profiles have, one a stack that a third of them have, and one a stack
    that no other has.
    """
    counts = {("leaf", "all"): 1, ("leaf", f"share-{number % _SHARES}"): 10, (f"own-{number}",): number + 1}
    samples = [Sample(stack(*names), (count, count * _PERIOD_NANOSECONDS)) for names, count in counts.items()]
    data = encode(profile(*samples, time_nanos=time_nanos))
    if gzip:
        return data
    from profbucket.pprof.compression import inflate

    return inflate(data)


def numbers_in(data: bytes) -> set[int]:
    """Return the numbers of the profiles that were merged into *data*.

    Raise ``AssertionError`` if a profile is in it twice or in part, or if anything else is in it.
    """
    message = decode(data).message
    text = [name.decode() for name in message.string_table]
    functions = {function.id: text[function.name] for function in message.function}
    names = {location.id: functions[location.line[0].function_id] for location in message.location}
    values: dict[Sequence[str], int] = defaultdict(int)
    for sample in message.sample:
        count, nanoseconds = sample.value
        assert nanoseconds == count * _PERIOD_NANOSECONDS, f"{count} samples of {nanoseconds} ns"
        values[tuple(names[i] for i in sample.location_id)] += count
    numbers = {int(own[0].removeprefix("own-")) for own in values if len(own) == 1}
    expected: dict[Sequence[str], int] = defaultdict(int)
    for number in numbers:
        expected["leaf", "all"] += 1
        expected["leaf", f"share-{number % _SHARES}"] += 10
        expected[(f"own-{number}",)] = number + 1
    difference = {name: (values.get(name, 0), expected.get(name, 0)) for name in values.keys() | expected.keys()}
    difference = {name: pair for name, pair in difference.items() if pair[0] != pair[1]}
    shown = dict(sorted(difference.items())[:20])
    assert not difference, f"{len(difference)} stacks have other values than expected, as {shown}"
    return numbers
