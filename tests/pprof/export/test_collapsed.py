"""Collapsed stacks have the content of ``go tool pprof -traces``."""

import re
from collections import Counter

import pytest
from hypothesis import given

from profbucket.errors import TooMany
from profbucket.ingest.collapsed import Column, to_pprof
from profbucket.limits import Limits
from profbucket.model.merge_format import MergeFormat
from profbucket.pprof import decode
from profbucket.pprof.export.collapsed import to_collapsed
from profbucket.pprof.export.convert import convert
from profbucket.pprof.merge import merge
from tests.support.go_tool import GoPprof
from tests.support.paths import CORPUS, DATA
from tests.support.profiles import Profile, Sample, encode, profile, profile_sets, stack
from tests.support.property_tests import examples


def collapse(data: bytes, column: int = 0) -> dict[str, int]:
    lines = to_collapsed(decode(data).message, column).decode().splitlines()
    stacks = {stack: int(value) for stack, _, value in (line.rpartition(" ") for line in lines)}
    assert len(stacks) == len(lines)
    return stacks


def collapse_with_go(go_pprof: GoPprof, data: bytes) -> dict[str, int]:
    source = go_pprof.directory / "traces.pb.gz"
    source.write_bytes(data)
    run = go_pprof("-traces", "-sample_index=0", "-taghide=.", source).check()
    stacks: Counter[str] = Counter()
    # After the header, each stack is between two lines, and its first frame has the value.
    for block in re.split(r"^-+\+-+\n", run.stdout.decode(errors="replace"), flags=re.MULTILINE)[1:]:
        lines = [re.fullmatch(r" *(-?\d*)   (.*?)(?: \(inline\))?", line) for line in block.splitlines()]
        frames = [line for line in lines if line]
        assert len(frames) == len(lines)
        if frames:
            stacks[";".join(frame[2].replace(";", ":") for frame in reversed(frames))] += int(frames[0][1])
    return {stack: value for stack, value in stacks.items() if value}


@pytest.mark.parametrize("name", ["cpu-1", "heap-1", "goroutine-1", "cpu-unsymbolized"])
def test_stacks_of_real_profiles_equal_those_of_pprof(go_pprof: GoPprof, name: str) -> None:
    data = (DATA / "shop-0.0.1" / f"{name}.pb.gz").read_bytes()
    assert collapse(data) == collapse_with_go(go_pprof, data)


def test_stacks_of_the_corpus_equal_those_of_pprof(go_pprof: GoPprof) -> None:
    sources = sorted(CORPUS.glob("*.pb.gz"))[::40]
    if not sources:
        pytest.skip("the corpus of Go CPU profiles is missing: see tests/support/paths.py")
    data = merge(source.read_bytes() for source in sources)
    assert collapse(data) == collapse_with_go(go_pprof, data)


@examples(20)
@given(profile_sets(columns=False))
def test_stacks_of_any_profiles_keep_the_total(profiles: list[Profile]) -> None:
    data = encode(profiles[0])
    total = decode(data).totals[0].value
    assert (sum(collapse(data).values()) - total) % 2**64 == 0


def test_names_cannot_break_the_format() -> None:
    names = ("main", "a;b", "x\ny 7", "\x1b[31m", "größe 12", "")
    data = encode(profile(Sample(stack(*reversed(names)), (3, 1)), Sample((), (2, 1))))
    assert collapse(data) == {"main;a:b;x\ufffdy 7;\ufffd[31m;größe 12;<unknown>": 3, "<no stack>": 2}


def test_equal_stacks_are_added_up_and_zeros_left_out() -> None:
    samples = [Sample(stack("f", "main"), (value, 0)) for value in (2, 3)]
    data = encode(profile(*samples, Sample(stack("g"), (7, 0)), Sample(stack("g"), (-7, 0))))
    assert convert(data, MergeFormat.COLLAPSED, 2) == b""  # the default sample type is the last: all are zero
    assert collapse(data) == {"main;f": 5}


def test_collapsed_stacks_can_be_posted_again() -> None:
    data = (DATA / "shop-0.0.1" / "cpu-1.pb.gz").read_bytes()
    text = to_collapsed(decode(data).message, 0)
    assert to_collapsed(decode(to_pprof(text, [Column("samples", "count")], Limits())).message, 0) == text


def test_the_size_is_limited_before_the_text_is_made() -> None:
    """Many stacks of long names, small in a pprof."""
    frames = stack(*(f"{number}{'x' * 400}" for number in range(100)))
    data = encode(profile(*(Sample(frames[number % 50 :], (1, 1)) for number in range(200))))
    with pytest.raises(TooMany) as caught:
        to_collapsed(decode(data).message, 0, Limits(export_bytes=1 << 20))
    assert caught.value.code == "max_export_bytes_exceeded"
