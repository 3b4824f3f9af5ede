"""Merges compared with google/pprof's library and with ``go tool pprof``, and their memory."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from isal import igzip

from bench.measure import Measure, Repeater, Row, alternate, bench, run_process, take_median
from bench.profiles import (
    OUTPUT,
    PROFBUCKET,
    PYTHON,
    find_go_pprof,
    list_corpus,
    list_service_profiles,
    list_sets,
    prepare_go,
)
from profbucket.pprof import deflate, inflate
from profbucket.pprof.merge import merge
from tests.support.paths import ROOT

_PROTO_OPTIONS = ("-proto", "-symbolize=none")
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
    files, pprof, out = list_corpus(), find_go_pprof(), str(OUTPUT / "merged.pb.gz")
    if files:
        runs = []
        for times in (1, 2):
            runs.append(partial(run_process, [PROFBUCKET, "merge", *files * times, "-o", out]))
            runs.append(partial(run_process, [pprof, *_PROTO_OPTIONS, f"-output={out}", *files * times]))
        measure, peer, measure_2n, peer_2n = alternate(*runs)
        yield Row(
            f"each further {len(files)} x Go compiler CPU",
            _subtract(measure_2n, measure),
            _subtract(peer_2n, peer),
            "2N files less N files, one process each; peer: go tool pprof -proto",
        )


@bench("process")
def whole_process() -> Iterator[Row]:
    """Measure from the start of a process to its end."""
    toolchain, pprof, out = prepare_go(), find_go_pprof(), str(OUTPUT / "merged.pb.gz")
    command = [str(toolchain.path), "tool", "pprof"]
    for name, files in list_sets().items():
        measure, peer, binary = alternate(
            partial(run_process, [PROFBUCKET, "merge", *files, "-o", out]),
            partial(run_process, [*command, *_PROTO_OPTIONS, f"-output={out}", *files], toolchain.environment),
            partial(run_process, [pprof, *_PROTO_OPTIONS, f"-output={out}", *files]),
        )
        yield Row(
            f"profbucket merge, {len(files)} x {name}", measure, peer, "whole process; peer: go tool pprof -proto"
        )
        yield Row(
            f"the same, {len(files)} x {name}", measure, binary, "peer: the pprof binary without the go command"
        )


@bench("few")
def few_files() -> Iterator[Row]:
    """Merge 2 and 60 profiles of a service, from the start of a process to its end."""
    pprof, out = find_go_pprof(), str(OUTPUT / "merged.pb.gz")
    for name, files in list_service_profiles().items():
        for count in (2, 60):
            measure, peer = alternate(
                partial(run_process, [PROFBUCKET, "merge", *files[:count], "-o", out]),
                partial(run_process, [pprof, *_PROTO_OPTIONS, f"-output={out}", *files[:count]]),
            )
            ratio = (peer.cpu_seconds or 0) / (measure.cpu_seconds or 1)
            yield Row(
                f"profbucket merge, {count} x {name}",
                measure,
                peer,
                f"peer: the pprof binary without the go command; ratio by CPU: {ratio:.2f}",
            )


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
