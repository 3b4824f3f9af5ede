"""The merge: against google/pprof's library, against ``go tool pprof`` as a process, and its memory."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from isal import igzip

from bench.profiles import OUT, PROFBUCKET, PYTHON, ROOT, corpus, go, go_pprof, sets
from bench.rows import Measure, Repeater, Row, bench, in_turns, median, process
from profbucket.pprof import deflate, inflate
from profbucket.pprof.merge import merge

_QUIET = ("-proto", "-symbolize=none")


@bench("library")
def library() -> Iterator[Row]:
    """Parse, merge and encode in one warm process, profiles in memory."""
    with tempfile.TemporaryDirectory() as directory:
        binary = _go_library(Path(directory))
        for name, files in sets().items():
            with Repeater([PYTHON, "-m", "bench.once", *files]) as ours, Repeater([binary, *files]) as theirs:
                mine, peer = in_turns(ours, theirs)
            yield Row(f"merge {len(files)} x {name}", mine, peer, "warm; peer: google/pprof's library")


@bench("marginal")
def marginal() -> Iterator[Row]:
    """What the corpus costs on top of a first time, in one process: N files and 2N files, the difference."""
    files, pprof, out = corpus(), go_pprof(), str(OUT / "merged.pb.gz")
    if files:
        runs = []
        for times in (1, 2):
            runs.append(partial(process, [PROFBUCKET, "merge", *files * times, "-o", out]))
            runs.append(partial(process, [pprof, *_QUIET, f"-output={out}", *files * times]))
        ours, theirs, ours_twice, theirs_twice = in_turns(*runs)
        yield Row(
            f"each further {len(files)} x Go compiler CPU",
            _difference(ours_twice, ours),
            _difference(theirs_twice, theirs),
            "N and 2N files in one process, the difference; peer: go tool pprof -proto",
        )


@bench("process")
def whole_process() -> Iterator[Row]:
    """From the start of a process to its end."""
    command, pprof, out = [str(go().path), "tool", "pprof"], go_pprof(), str(OUT / "merged.pb.gz")
    for name, files in sets().items():
        ours, theirs, binary = in_turns(
            partial(process, [PROFBUCKET, "merge", *files, "-o", out]),
            partial(process, [*command, *_QUIET, f"-output={out}", *files], go().environment),
            partial(process, [pprof, *_QUIET, f"-output={out}", *files]),
        )
        yield Row(
            f"profbucket merge, {len(files)} x {name}", ours, theirs, "whole process; peer: go tool pprof -proto"
        )
        yield Row(
            f"the same, {len(files)} x {name}", ours, binary, "peer: the pprof binary without the go command"
        )


@bench("gzip")
def gzip_levels() -> Iterator[Row]:
    """What the merge of the corpus takes to compress, by level: the peer is the one that is used."""
    raw = inflate(merge(Path(name).read_bytes() for name in corpus() or next(iter(sets().values()))))
    used = deflate(raw)
    for level in range(4):
        packed = igzip.compress(raw, compresslevel=level)
        ours, theirs = in_turns(partial(_timed, level, raw), partial(_timed, None, raw))
        size = f"{len(packed):,} of {len(raw):,} B; peer: as it is done, {len(used):,} B"
        yield Row(f"gzip, level {level}", ours, theirs, size)


def _difference(more: Measure, less: Measure) -> Measure:
    return Measure(more.seconds - less.seconds, cpu=(more.cpu or 0) - (less.cpu or 0))


def _timed(level: int | None, raw: bytes) -> Measure:
    begin = time.perf_counter()
    if level is None:
        deflate(raw)
    else:
        igzip.compress(raw, compresslevel=level)
    return Measure(time.perf_counter() - begin)


@bench("memory")
def memory() -> Iterator[Row]:
    """Peaks for many profiles, the corpus over and over: memory follows distinct stacks."""
    files = corpus() or next(iter(sets().values()))
    for count in (1_000, 10_000):
        many = (files * (count // len(files) + 1))[:count]
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as names:
            names.write("\n".join(many))
            names.flush()
            measure = median([process([PYTHON, "-m", "bench.many", names.name]) for _ in range(5)])
        yield Row(f"merge {count:,} profiles, one after the other", measure, None, "peak of the whole process")


def _go_library(directory: Path) -> str:
    """bench/golib, built with the copy of google/pprof that comes with the toolchain."""
    toolchain = go()
    source = directory / "golib"
    shutil.copytree(ROOT / "bench" / "golib", source)
    root = toolchain.run("env", "GOROOT").check().text.strip()
    shutil.copytree(Path(root, "src/cmd/vendor/github.com/google/pprof/profile"), source / "profile")
    binary = str(directory / "library")
    toolchain.run("build", "-o", binary, ".", cwd=source).check()
    return binary
