"""A merge of files by two processes, each in a program of its own: what has numpy or threads does not fork."""

import subprocess
import sys
from pathlib import Path

import pytest

from profbucket.limits import Limits
from profbucket.pprof.merge import merge
from profbucket.pprof.two_process_merge import merge_files
from tests.support.canonical import assert_compact, canonical
from tests.support.paths import DATA
from tests.support.profiles import Sample, Style, encode, profile, stack

PROGRAM = """
import os, signal, sys
from profbucket.limits import Limits
from profbucket.pprof import two_process_merge as beside
os.cpu_count = lambda: 2
{before}
merged = beside.merge_files(sys.argv[1:], Limits())
{after}
sys.stdout.buffer.write(merged or b"")
"""


def program(files: list[Path], before: str = "", after: str = "") -> bytes:
    """What two processes make of *files*, empty if they leave it to one; within a minute."""
    code = PROGRAM.format(before=before, after=after)
    done = subprocess.run([sys.executable, "-c", code, *files], stdout=subprocess.PIPE, check=True, timeout=60)
    return done.stdout


def written(directory: Path, *profiles: bytes) -> list[Path]:
    files = [directory / f"{i}.pb.gz" for i in range(len(profiles))]
    for file, data in zip(files, profiles, strict=True):
        file.write_bytes(data)
    return files


@pytest.mark.parametrize(
    ("pattern", "times"),
    [("shop-*/cpu-[123].pb.gz", 1), ("shop-*/heap-*.pb.gz", 20), ("python/python-cpu.pb.gz", 2)],
)
def test_two_processes_merge_as_one_does(pattern: str, times: int) -> None:
    files = sorted(DATA.glob(pattern)) * times
    merged = program(files)
    assert canonical(merged) == canonical(merge(file.read_bytes() for file in files))
    assert_compact(merged)


def test_profiles_of_many_encoders_are_merged_by_two_processes_or_left_to_one(tmp_path: Path) -> None:
    content = profile(Sample(stack("a", "b"), (1, 2)), Sample(stack("a"), (3, -4)))
    manners = [Style(), Style(packed="always"), Style(ids="sparse"), Style(packed="never"), Style(gzip=False)]
    profiles = [encode(content, manner) for manner in manners]
    assert canonical(program(written(tmp_path, *profiles))) == canonical(merge(profiles))
    profiles.append(encode(content, Style(unknown_fields=True)))
    merged = program(written(tmp_path, *profiles))
    assert not merged or canonical(merged) == canonical(merge(profiles))


def test_the_process_that_merges_needs_no_protobuf(tmp_path: Path) -> None:
    files = written(tmp_path, *[encode(profile(Sample(stack("a"), (1, 2))))] * 2)
    assert program(files, after="assert merged and 'google.protobuf' not in sys.modules, sorted(sys.modules)")


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"nonsense",
        encode(profile(Sample(stack("a"), (1,)))),
        encode(profile(Sample(stack("a"), (1, 2)), period_type=(b"other", b"unit"))),
    ],
    ids=["empty", "nonsense", "values", "types"],
)
def test_what_is_wrong_with_a_file_is_left_to_one_process(tmp_path: Path, bad: bytes) -> None:
    good = encode(profile(Sample(stack("a"), (1, 2))))
    assert program(written(tmp_path, good, bad, good)) == b""
    assert program([*written(tmp_path, good, good), tmp_path / "missing"]) == b""


def test_sample_types_that_must_be_looked_at_are_left_to_one_process(tmp_path: Path) -> None:
    files = written(tmp_path, *[encode(profile(Sample(stack("a"), (1,)), sample_types=((b"x" * 200, b"y"),)))] * 2)
    assert program(files) == b""


def test_an_error_names_the_file_as_ever(tmp_path: Path) -> None:
    good = encode(profile(Sample(stack("a"), (1, 2))))
    files = written(tmp_path, good, good[:-20], good)
    main = "from profbucket.cli import main; main()"
    command: list[str | Path] = [sys.executable, "-c", main, "merge", *files, "-o", tmp_path / "out"]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr == f"profbucket: {files[1]}: the gzip is cut short\n"
    assert not (tmp_path / "out").exists()


# What happens to the other process: before anything, amid a batch, and behind the first one.
KILLED = """
def killed(files, limits, batches=beside._pieces):
    for i, batch in enumerate(batches(files, limits)):
        if i == {batch}:
            os.kill(os.getpid(), signal.SIGKILL)
        yield batch
beside._pieces = killed
"""
CUT = """
def dumped(batch, dumps=beside.marshal.dumps):
    os.write(writing, (10_000).to_bytes(8) + dumps(batch)[:50])
    os._exit(0)
pipe = os.pipe
def kept():
    global writing
    ends = pipe()
    writing = ends[1]
    return ends
os.pipe = kept
import types
beside.marshal = types.SimpleNamespace(dumps=dumped, loads=beside.marshal.loads)
"""


@pytest.mark.parametrize("before", [KILLED.format(batch=0), KILLED.format(batch=1), CUT])
def test_a_process_that_dies_leaves_no_merge_and_no_one_waiting(before: str) -> None:
    assert program(sorted(DATA.glob("shop-*/heap-*.pb.gz")) * 20, before) == b""


def test_neither_one_file_nor_a_pipe_nor_one_processor_takes_two_processes(tmp_path: Path) -> None:
    no_fork = "def fork(): raise AssertionError\nos.fork = fork\n"
    files = written(tmp_path, *[encode(profile(Sample(stack("a"), (1, 2))))] * 2)
    assert program(files[:1], no_fork) == b""
    assert program([files[0], Path("/dev/stdin")], no_fork) == b""
    assert program(files, f"{no_fork}os.cpu_count = lambda: 1") == b""


def test_a_process_with_numpy_in_it_is_not_forked(tmp_path: Path) -> None:
    files = written(tmp_path, *[encode(profile(Sample(stack("a"), (1, 2))))] * 2)
    assert merge_files([str(file) for file in files], Limits()) is None
