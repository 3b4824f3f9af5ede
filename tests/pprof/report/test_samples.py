"""Selecting and folding the samples of a profile."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from profbucket.pprof import decode, encode, profile_pb2
from profbucket.pprof.report.fold_samples import fold_samples
from profbucket.pprof.report.samples import keep_call_site, keep_spans
from tests.pprof.report.test_flame_levels import STACKS, collapsed


def stacks(message: profile_pb2.Profile) -> dict[str, int]:
    """Return the values of *message* by stacks such as ``a;b``."""
    names = {function.id: message.string_table[function.name].decode() for function in message.function}
    frames = {location.id: names[location.line[0].function_id] for location in message.location}
    values: Counter[str] = Counter()
    for sample in message.sample:
        values[";".join(frames[one] for one in reversed(sample.location_id))] += sample.value[0]
    return dict(values)


def test_the_stacks_of_a_call_site_are_kept() -> None:
    message = decode(collapsed("a;b;c 1", "a;b 2", "a;c 3", "b 4")).message
    keep_call_site(message, ["a", "b"])
    assert stacks(message) == {"a;b;c": 1, "a;b": 2}
    keep_call_site(message, [])
    assert len(message.sample) == 2


def test_samples_of_spans_are_kept() -> None:
    message = decode(collapsed("a 1", "b 2", "c 3", "d 4")).message
    message.string_table.extend([b"profile_id", b"7", b"other"])
    key, span, other = range(len(message.string_table) - 3, len(message.string_table))
    message.sample[0].label.add(key=key, str=span)
    message.sample[1].label.add(key=key, str=other)
    message.sample[2].label.add(key=other, str=span)
    message.sample[3].label.add(key=key, num=7)
    keep_spans(message, {"7", ""})
    assert stacks(message) == {"a": 1}


def test_light_calls_become_other() -> None:
    message = decode(collapsed("a;b 5", "a;c;d 2", "a;c;e 1", "a;f 1")).message
    fold_samples(message, 3)
    assert stacks(message) == {"a;b": 5, "a;c;other": 3, "a;other": 1}
    assert len(message.sample) == 3


def test_a_small_profile_is_not_changed() -> None:
    message = decode(collapsed("a;b 5", "a;c 2")).message
    before = message.SerializeToString()
    fold_samples(message, 3)
    assert message.SerializeToString() == before


@given(STACKS, st.integers(1, 20))
def test_folding_keeps_the_total_and_a_valid_profile(lines: list[str], max_nodes: int) -> None:
    message = decode(collapsed(*lines)).message
    total = sum(stacks(message).values())
    fold_samples(message, max_nodes)
    assert sum(stacks(decode(encode(message)).message).values()) == total
