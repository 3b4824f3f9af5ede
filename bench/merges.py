"""Merges compared with google/pprof's library and with ``go tool pprof``, and their memory."""

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from isal import igzip

from bench.measure import Measure, Repeater, Row, alternate, bench, run_process, take_median
from bench.profiles import (
    OUTPUT,
    PROFBUCKET,
    PYTHON,
    list_corpus,
    list_service_profiles,
    list_sets,
    prepare_go,
)
from profbucket.pprof import deflate, inflate
from profbucket.pprof.merge import merge
from tests.support.paths import ROOT

# Of go tool pprof -proto; the go command itself takes 0.2 s to find the binary.
_PEER = "peer: the pprof binary without the go command"
_MEMORY_ROUNDS = 5


@bench("library")
def library() -> Iterator[Row]:
    """Parse, merge and encode profiles in memory, in a warm process."""
    with tempfile.TemporaryDirectory() as directory:
        binary = _build_go_library(Path(directory))
        for name, files in list_sets().items():
            with (
                Repeater([PYTHON, "-m", "bench.merge_repeatedly", *files]) as merger,
                Repeater([binary, *files]) as library_merger,
            ):
                measure, peer = alternate(merger, library_merger)
            yield Row(f"merge {len(files)} x {name}", measure, peer, "warm; peer: google/pprof's library")


@bench("marginal")
def marginal() -> Iterator[Row]:
    """Measure the marginal cost: the difference between merges of 2N and of N files, in one process each."""
    if files := list_corpus():
        measure, peer, measure_2n, peer_2n = _merge_with_both(files, files * 2)
        yield Row(
            f"each further {len(files)} x Go compiler CPU",
            _subtract(measure_2n, measure),
            _subtract(peer_2n, peer),
            f"2N files less N files, one process each; {_PEER}",
        )


@bench("process")
def whole_process() -> Iterator[Row]:
    """Measure from the start of a process to its end."""
    for name, files in list_sets().items():
        measure, peer = _merge_with_both(files)
        yield Row(f"profbucket merge, {len(files)} x {name}", measure, peer, f"whole process; {_PEER}")


@bench("few")
def few_files() -> Iterator[Row]:
    """Merge 2 and 60 profiles of a service, from the start of a process to its end."""
    for name, files in list_service_profiles().items():
        for count in (2, 60):
            measure, peer = _merge_with_both(files[:count])
            ratio = (peer.cpu_seconds or 0) / (measure.cpu_seconds or 1)
            yield Row(f"profbucket merge, {count} x {name}", measure, peer, f"{_PEER}; ratio by CPU: {ratio:.2f}")


@bench("gzip")
def gzip_levels() -> Iterator[Row]:
    """Compress the merge of the corpus at each level; the peer is the level in use."""
    raw = inflate(merge(Path(name).read_bytes() for name in list_corpus() or next(iter(list_sets().values()))))
    current = deflate(raw)
    for level in range(4):
        compressed = igzip.compress(raw, compresslevel=level)
        measure, peer = alternate(partial(_time_gzip, level, raw), partial(_time_gzip, None, raw))
        size = f"{len(compressed):,} of {len(raw):,} B; peer: the level in use, {len(current):,} B"
        yield Row(f"gzip, level {level}", measure, peer, size)


def _merge_with_both(*sets: Sequence[str]) -> list[Measure]:
    """Return the times of profbucket and of pprof for each of *sets* of files, in a process each."""
    pprof, out = prepare_go().find_tool("pprof"), str(OUTPUT / "merged.pb.gz")
    runs = []
    for files in sets:
        runs.append(partial(run_process, [PROFBUCKET, "merge", *files, "-o", out]))
        runs.append(partial(run_process, [pprof, "-proto", "-symbolize=none", f"-output={out}", *files]))
    return alternate(*runs)


def _subtract(more: Measure, less: Measure) -> Measure:
    cpu_seconds = (more.cpu_seconds or 0) - (less.cpu_seconds or 0)
    return Measure(more.seconds - less.seconds, cpu_seconds=cpu_seconds)


def _time_gzip(level: int | None, raw: bytes) -> Measure:
    begin = time.perf_counter()
    if level is None:
        deflate(raw)
    else:
        igzip.compress(raw, compresslevel=level)
    return Measure(time.perf_counter() - begin)


@bench("memory")
def memory() -> Iterator[Row]:
    """Measure the peak for many profiles, the corpus repeated: memory follows the distinct stacks."""
    files = list_corpus() or next(iter(list_sets().values()))
    for count in (1_000, 10_000):
        repeated = (files * (count // len(files) + 1))[:count]
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as names:
            names.write("\n".join(repeated))
            names.flush()
            command = [PYTHON, "-m", "bench.merge_listed", names.name]
            measure = take_median([run_process(command) for _ in range(_MEMORY_ROUNDS)])
        yield Row(f"merge {count:,} profiles, one after the other", measure, None, "peak of the whole process")


def _build_go_library(directory: Path) -> str:
    """Build bench/golib with the toolchain's copy of google/pprof, and return its path."""
    toolchain = prepare_go()
    source = directory / "golib"
    shutil.copytree(ROOT / "bench" / "golib", source)
    root = toolchain.run("env", "GOROOT").check().text.strip()
    shutil.copytree(Path(root, "src/cmd/vendor/github.com/google/pprof/profile"), source / "profile")
    binary = str(directory / "library")
    toolchain.run("build", "-o", binary, ".", cwd=source).check()
    return binary
