"""Profiles that ask to drop frames are merged, compared with Go's pprof and with a plain merge."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profbucket.errors import TooMany
from profbucket.limits import Limits
from profbucket.pprof import decode
from profbucket.pprof import encode as encode_message
from profbucket.pprof import merge as merging
from profbucket.pprof.block.build import BlockBuilder
from profbucket.pprof.merge import Merger, merge
from tests.support.canonical import canonicalize
from tests.support.go_tool import GoPprof
from tests.support.plain_merge import merge as plain_merge
from tests.support.profiles import Line, Location, Profile, Sample, encode, function, profile, stack
from tests.support.property_tests import examples
from tests.support.storage.examples import make_meta

NAMES = ("main", "serve", "alloc", "alloc_slow(int)", ".trace", "(anonymous namespace)::x(y)", "")
RULES = ((b"", b""), (b"alloc.*|trace", b""), (b".*alloc.*", b"alloc_slow"), (b"main", b""), (b"a(", b""))
LOCATIONS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(
    lambda names: Location(lines=tuple(Line(function(name), 7) for name in names))
)


@st.composite
def profiles_with_rules(draw: Callable[..., Any]) -> list[Profile]:
    known = draw(st.lists(LOCATIONS, min_size=1, max_size=5))
    samples = st.builds(
        Sample,
        st.lists(st.sampled_from(known), max_size=5).map(tuple),
        st.tuples(st.integers(1, 9), st.integers(0, 9)),
    )
    contents = []
    for number in range(draw(st.integers(2, 4))):
        drop, keep = draw(st.sampled_from(RULES))
        content = profile(*draw(st.lists(samples, min_size=1, max_size=5)), comments=(b"%d" % number,))
        contents.append(replace(content, drop_frames=drop, keep_frames=keep))
    return contents


@examples(50)
@given(profiles_with_rules(), st.sampled_from([1, 300, 1 << 20]))
def test_merges_are_those_of_a_plain_merge(contents: list[Profile], batch_bytes: int) -> None:
    profiles = [encode(content) for content in contents]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "_BATCH_BYTES", batch_bytes)
        merged = merge(profiles, ["from a test"])
    assert canonicalize(merged) == canonicalize(plain_merge(profiles, ["from a test"]))


def test_each_profile_is_read_as_go_reads_it(go_pprof: GoPprof, tmp_path: Path) -> None:
    """Go applies the rules of the first of several files to all of them; one by one, each has its own."""
    file, out = tmp_path / "in.pb.gz", tmp_path / "out.pb.gz"

    def prune(data: bytes) -> bytes:
        file.write_bytes(data)
        go_pprof("-proto", "-symbolize=none", f"-output={out}", file).check()
        message = decode(out.read_bytes()).message
        message.drop_frames = message.keep_frames = 0
        return encode_message(message)

    @settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(profiles_with_rules())
    def check(contents: list[Profile]) -> None:
        profiles = [encode(content) for content in contents]
        merged, expected = prune(merge(profiles)), merge(list(map(prune, profiles)))
        assert canonicalize(merged).samples == canonicalize(expected).samples

    check()


def with_rules(value: int, drop: bytes = b"", keep: bytes = b"") -> bytes:
    return encode(profile(Sample(stack("alloc", "main"), (value, 0)), drop_frames=drop, keep_frames=keep))


def list_stacks(data: bytes) -> dict[tuple[bytes, ...], int]:
    samples = canonicalize(data).samples.items()
    return {tuple(place.frames[0].name for place in key[0]): values[0] for key, values in samples}


def test_equal_rules_stay_with_the_result() -> None:
    merged = merge([with_rules(1, b"alloc", b"x"), with_rules(2, b"alloc", b"x")])
    assert list_stacks(merged) == {(b"alloc", b"main"): 3}
    header = canonicalize(merged).header
    assert (header.drop_frames, header.keep_frames) == (b"alloc", b"x")


def test_rules_apply_to_the_profile_that_carries_them() -> None:
    profiles = [with_rules(1), with_rules(2, b"alloc"), with_rules(4, b"alloc", b"alloc")]
    for order in (profiles, profiles[::-1]):
        merged = merge(order)
        assert list_stacks(merged) == {(b"main",): 2, (b"alloc", b"main"): 5}
        assert canonicalize(merged).header.drop_frames == b""


@pytest.mark.parametrize("batch_bytes", [1, 1 << 20])
def test_the_number_of_different_rules_is_limited(monkeypatch: pytest.MonkeyPatch, batch_bytes: int) -> None:
    """Each takes memory, however small its profiles are."""
    monkeypatch.setattr(merging, "_BATCH_BYTES", batch_bytes)
    profiles = [with_rules(1, b"f%d" % (number % 3)) for number in range(9)]
    limits = Limits(frame_rules=3)
    assert list_stacks(merge(profiles, limits=limits)) == {(b"alloc", b"main"): 9}
    with pytest.raises(TooMany) as refused:
        merge([*profiles, with_rules(1, b"f3")], limits=limits)
    assert refused.value.code == "max_frame_rules_exceeded"


def test_a_merge_goes_on_after_a_result() -> None:
    merger = Merger()
    merger.add(with_rules(1, b"alloc"))
    assert list_stacks(merger.result()) == {(b"alloc", b"main"): 1}
    merger.add(with_rules(2))
    assert list_stacks(merger.result()) == {(b"main",): 1, (b"alloc", b"main"): 2}
    assert merger.sample_types() == ["samples", "cpu"]
    merger.add(with_rules(4, b"alloc"))
    assert list_stacks(merger.result()) == {(b"main",): 5, (b"alloc", b"main"): 2}


def test_a_block_takes_profiles_that_ask_to_drop_the_same_frames() -> None:
    measures = set()
    for rules in ((b"", b""), (b"alloc", b""), (b"alloc", b"x")):
        builder = BlockBuilder()
        for number, drop in enumerate((rules[0], rules[0], b"other")):
            data = with_rules(number + 1, drop, rules[1])
            builder.add(make_meta(number, data=data), data)
        block = builder.build()
        assert block
        assert not builder.invalid
        assert len(block.members) == 2
        measures.add(block.measures)
    assert len(measures) == 3


def test_the_default_sample_type_does_not_depend_on_frames_to_drop() -> None:
    """Profiles whose sample types differ have a common one as default, whatever frames each asks to drop."""
    first = replace(profile(), sample_types=((b"t0", b"ns"),), default_sample_type=b"none", samples=())
    second = replace(first, sample_types=((b"t0", b"ns"), (b"t1", b"ns")))
    for drop in (b"", b"alloc", b"main"):
        contents = [first, replace(first, drop_frames=b"main"), replace(second, drop_frames=drop)]
        message = decode(merge([encode(content) for content in contents])).message
        assert message.string_table[message.default_sample_type] == b"t0"
