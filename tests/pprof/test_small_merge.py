"""Merges of a few small files, which have the bytes of the engine's."""

import random
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.errors import ProfbucketError
from profbucket.limits import Limits
from profbucket.pprof import decode, deflate, inflate
from profbucket.pprof.merge import merge
from profbucket.pprof.small_merge.files import merge_small, merge_small_files
from tests.pprof.test_merge import INVALID, LABELLED, mutate
from tests.support.canonical import canonicalize
from tests.support.go_tool import GoPprof
from tests.support.paths import CORPUS, DATA
from tests.support.profiles import (
    Label,
    Line,
    Location,
    Mapping,
    Profile,
    Sample,
    Style,
    encode,
    function,
    mixed_profile_sets,
    profile,
    profile_sets,
    stack,
    styles,
)
from tests.support.property_tests import examples

GOOD = encode(profile(Sample(stack("a"), (1, 2))))


def write_files(directory: Path, *profiles: bytes) -> list[str]:
    files = [directory / f"{i}.pb.gz" for i in range(len(profiles))]
    for file, data in zip(files, profiles, strict=True):
        file.write_bytes(data)
    return list(map(str, files))


def merge_or_reject(profiles: list[bytes]) -> bytes | None:
    """Return the engine's merge of *profiles*, or ``None`` if it rejects one of them."""
    try:
        return merge(profiles)
    except ProfbucketError:
        return None


def are_alike(contents: list[Profile]) -> bool:
    """Return whether nothing in the headers of *contents* keeps them from being merged here."""
    headers = {(c.sample_types, c.period_type, c.drop_frames, c.keep_frames) for c in contents}
    return len(headers) == 1


@pytest.mark.parametrize(
    "pattern",
    ["shop-0.0.1/cpu-*.pb.gz", "shop-*/heap-[12].pb.gz", "shop-*/mutex-*.pb.gz", "python/python-heap.pb"],
)
def test_profiles_of_the_test_programs_merge_as_in_the_engine(pattern: str) -> None:
    files = sorted(DATA.glob(pattern)) * 2
    assert merge_small_files(list(map(str, files)), Limits()) == merge(file.read_bytes() for file in files)


def test_the_corpus_merges_as_in_the_engine_and_in_go(go_pprof: GoPprof, tmp_path: Path) -> None:
    files = sorted(file for file in CORPUS.glob("*.pb.gz") if file.stat().st_size < 20_000)
    if not files:
        pytest.skip("the corpus of Go CPU profiles is missing: see tests/support/paths.py")
    choice = random.Random(1)
    for _ in range(20):
        pair = choice.sample(files, 2)
        assert merge_small_files(list(map(str, pair)), Limits()) == merge(file.read_bytes() for file in pair)
    out = tmp_path / "merged.pb.gz"
    go_pprof("-proto", "-symbolize=none", f"-output={out}", *pair).check()
    merged = merge_small_files(list(map(str, pair)), Limits())
    assert merged
    assert canonicalize(merged) == canonicalize(out.read_bytes())


def test_cases_that_are_rare_in_generated_profiles_have_the_engines_bytes() -> None:
    program = Mapping(0x400000, 0x500000, file=b"/bin/shop", build_id=b"b1")
    library = Mapping(0x7F0000000000, 0x7F0000003000, file=b"/lib/libc.so.6", flags=(True, False, True, False))
    moved = replace(program, start=0x300000, limit=0x400000, file=b"/other/shop", flags=(True, True, False, False))
    lines = Line(function("f"), 3), Line(function("g"), -1, column=7)
    leaf = Location(program, 0x400010, lines, is_folded=True)
    twice = Label(b"k", number=5), Label(b"k", b"text"), Label(b"a", number=-1, unit=b"bytes"), Label(b"unused")
    first = profile(
        Sample((leaf, Location(library, 0x7F0000000001)), (0, 0)),
        Sample((Location(library, 0x7F0000000002), leaf), (-(2**63), 0)),
        Sample((leaf,), (1, -1), twice),
        Sample((), (7, 7)),
        comments=(b"", b"twice", b"twice"),
    )
    moved_leaf = replace(leaf, mapping=moved, address=0x300010)
    second = profile(
        Sample((moved_leaf,), (0, 1), tuple(reversed(twice))),
        Sample((moved_leaf,), (-1, 1), twice),
        Sample((leaf, Location(library, 0x7F0000000001)), (1, 1)),
        Sample((Location(library, 0x7F0000000002), moved_leaf), (-(2**63), 0)),
        period=-1,
        time_nanos=5,
        duration_nanos=2**63 - 1,
        doc_url=b"https://example.com",
    )
    for contents in ([first], [first, second], [second, first], [first, first, second]):
        profiles = [encode(content) for content in contents]
        assert merge_small(profiles) == merge(profiles)


@examples(25)
@given(profile_sets() | mixed_profile_sets(), st.data())
def test_profiles_of_any_encoder_have_the_engines_bytes_or_are_left_to_it(
    contents: list[Profile], data: st.DataObject
) -> None:
    profiles = [encode(content, data.draw(styles)) for content in contents]
    merged = merge_small(profiles)
    if are_alike(contents):
        assert merged is not None
    assert merged in (None, merge(profiles))


@pytest.mark.parametrize("seed", range(3))
def test_mutated_profiles_are_merged_alike_or_left_to_the_engine(seed: int) -> None:
    choice = random.Random(seed)
    sources = [inflate(file.read_bytes()) for file in sorted(DATA.glob("*/*.pb*"))]
    sources = [raw for raw in sources if len(raw) < 20_000]
    for style in (Style(), Style(packed="always"), Style(ids="sparse"), Style(shuffled_fields=True)):
        sources += [inflate(encode(LABELLED, style))] * 3
    left = 0
    for _ in range(60):
        group = [mutate(choice.choice(sources), choice) for _ in range(choice.choice([1, 2]))]
        merged = merge_small(group)
        left += merged is None
        assert merged in (None, merge_or_reject(group))
    assert 0 < left < 60


@pytest.mark.parametrize("wrong", INVALID)
def test_an_invalid_profile_is_left_to_the_engine(wrong: str) -> None:
    message = decode(encode(LABELLED)).message
    exec(wrong, {"p": message})
    assert merge_small([encode(LABELLED), message.SerializeToString()]) is None


@pytest.mark.parametrize(
    "limits",
    [Limits(inflated_bytes=40), Limits(merge_memory_bytes=100), Limits(sample_types=1), Limits(name_bytes=3)],
)
def test_profiles_that_may_exceed_a_limit_are_left_to_the_engine(limits: Limits) -> None:
    assert merge_small([GOOD, GOOD]) == merge([GOOD, GOOD])
    assert merge_small([GOOD, GOOD], limits) is None


def test_large_files_are_left_to_the_engine(tmp_path: Path) -> None:
    raw = encode(LABELLED, Style(gzip=False)) + b"\x32\x00" * 600_000
    assert merge_small_files(write_files(tmp_path, deflate(raw)), Limits()) is None
    assert merge_small_files(write_files(tmp_path, *[raw[:200_000]] * 2), Limits()) is None


def test_a_bomb_takes_little_memory() -> None:
    bomb = deflate(bytes(100 << 20))
    tracemalloc.start()
    try:
        assert merge_small([bomb]) is None
        assert tracemalloc.get_traced_memory()[1] < 5 << 20
    finally:
        tracemalloc.stop()


def test_pipes_and_missing_files_are_left_to_the_engine(tmp_path: Path) -> None:
    [file] = write_files(tmp_path, GOOD)
    for other in ("/dev/stdin", "-", str(tmp_path / "missing"), str(tmp_path)):
        assert merge_small_files([file, other], Limits()) is None
