"""The merge against the real one, and against the plain one."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profbucket.pprof.merge import merge
from tests.canonical import Canonical, assert_compact, canonical
from tests.gotool import GoPprof
from tests.profiles import (
    Profile,
    encode,
    gos_styles,
    profile_sets,
)

DATA = Path(__file__).parent.parent / "data"
CORPUS = Path(__file__).parents[3] / "shared" / "corpus" / "go-compiler-cpu"

GoMerge = Callable[[list[Path]], bytes]


@pytest.fixture(scope="session")
def go_merge(go_pprof: GoPprof, tmp_path_factory: pytest.TempPathFactory) -> GoMerge:
    """``go tool pprof -proto`` over files."""
    out = tmp_path_factory.mktemp("merged") / "merged.pb.gz"

    def call(files: list[Path]) -> bytes:
        go_pprof("-proto", "-symbolize=none", f"-output={out}", *files).check()
        return out.read_bytes()

    return call


@pytest.fixture(scope="session")
def corpus() -> list[Path]:
    files = sorted(CORPUS.glob("*.pb.gz"))
    if not files:
        pytest.skip("the corpus of Go CPU profiles is not beside this repository (shared/corpus)")
    return files


def written(directory: Path, profiles: list[bytes]) -> list[Path]:
    files = [directory / f"{i}.pb.gz" for i in range(len(profiles))]
    for file, data in zip(files, profiles, strict=True):
        file.write_bytes(data)
    return files


def read(files: list[Path]) -> list[bytes]:
    return [file.read_bytes() for file in files]


def assert_same(ours: Canonical, theirs: Canonical) -> None:
    # In parts: a difference in one sample of thousands must stay readable.
    assert ours.header == theirs.header
    assert ours.samples.keys() == theirs.samples.keys()
    assert {k: (v, theirs.samples[k]) for k, v in ours.samples.items() if v != theirs.samples[k]} == {}


class TestAgainstGo:
    """What ``go tool pprof -proto`` makes of the same files."""

    @pytest.mark.parametrize(
        "pattern",
        [
            "shop-*/cpu-[123].pb.gz",
            "shop-*/heap-*.pb.gz",
            "shop-*/goroutine-*.pb.gz",
            "shop-*/mutex-*.pb.gz",
            "shop-*/block-*.pb.gz",
            "shop-*/threadcreate-*.pb.gz",
            "shop-*/cpu-*.pb.gz",
            "python/python-cpu.pb.gz",
            "python/python-heap.pb",
        ],
    )
    def test_profiles_of_our_own_programs_merge_as_in_go(self, go_merge: GoMerge, pattern: str) -> None:
        files = sorted(DATA.glob(pattern))
        files = files * 2 if len(files) == 1 else files
        merged = merge(read(files))
        assert_same(canonical(merged), canonical(go_merge(files)))
        assert_compact(merged)

    def test_the_whole_corpus_merges_as_in_go(self, go_merge: GoMerge, corpus: list[Path]) -> None:
        merged = merge(read(corpus))
        assert_same(canonical(merged), canonical(go_merge(corpus)))
        assert_compact(merged)

    def test_profiles_without_samples_count_for_the_duration_as_in_go(
        self, go_merge: GoMerge, corpus: list[Path]
    ) -> None:
        empty = [file for file in corpus if not canonical(file.read_bytes()).samples]
        assert len(empty) == 29
        assert_same(canonical(merge(read(empty))), canonical(go_merge(empty)))

    def test_profiles_of_other_encoders_merge_as_in_go(self, go_merge: GoMerge, tmp_path: Path) -> None:
        # One run of Go costs as much as hundreds of merges, so the examples are few.
        @settings(
            max_examples=25,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
            database=None,
        )
        @given(profile_sets(columns=False, headers=False), st.data())
        def check(contents: list[Profile], data: st.DataObject) -> None:
            profiles = [encode(content, data.draw(gos_styles)) for content in contents]
            theirs = canonical(go_merge(written(tmp_path, profiles)))
            theirs_without_zeros = Canonical(theirs.header, {k: v for k, v in theirs.samples.items() if any(v)})
            assert_same(canonical(merge(profiles)), theirs_without_zeros)

        check()
