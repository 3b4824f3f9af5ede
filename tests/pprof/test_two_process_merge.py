"""Merges of files with two processes. Each runs in a program of its own, because one with numpy does not fork."""

import subprocess
import sys
from pathlib import Path

import pytest

from profbucket.limits import Limits
from profbucket.pprof.merge import merge
from profbucket.pprof.two_process_merge import merge_files
from tests.support.canonical import assert_compact, canonicalize
from tests.support.paths import DATA
from tests.support.profiles import Sample, Style, encode, profile, stack

PROGRAM = """
import os, signal, sys
from profbucket.limits import Limits
from profbucket.pprof import two_process_merge
os.cpu_count = lambda: 2
{before}
merged = two_process_merge.merge_files(sys.argv[1:], Limits())
{after}
sys.stdout.buffer.write(merged or b"")
"""


def run_program(files: list[Path], before: str = "", after: str = "") -> bytes:
    """Return what ``merge_files`` returns for *files* within a minute; empty for ``None``."""
    code = PROGRAM.format(before=before, after=after)
    done = subprocess.run([sys.executable, "-c", code, *files], stdout=subprocess.PIPE, check=True, timeout=60)
    return done.stdout


def write_files(directory: Path, *profiles: bytes) -> list[Path]:
    files = [directory / f"{i}.pb.gz" for i in range(len(profiles))]
    for file, data in zip(files, profiles, strict=True):
        file.write_bytes(data)
    return files


@pytest.mark.parametrize(
    ("pattern", "times"),
    [("shop-*/cpu-[123].pb.gz", 1), ("shop-*/heap-*.pb.gz", 20), ("python/python-cpu.pb.gz", 2)],
)
def test_two_processes_merge_like_one(pattern: str, times: int) -> None:
    files = sorted(DATA.glob(pattern)) * times
    merged = run_program(files)
    assert canonicalize(merged) == canonicalize(merge(file.read_bytes() for file in files))
    assert_compact(merged)


def test_profiles_of_other_encoders_are_merged_by_two_processes_or_left_to_one(tmp_path: Path) -> None:
    content = profile(Sample(stack("a", "b"), (1, 2)), Sample(stack("a"), (3, -4)))
    formats = [Style(), Style(packed="always"), Style(ids="sparse"), Style(packed="never"), Style(gzip=False)]
    profiles = [encode(content, style) for style in formats]
    assert canonicalize(run_program(write_files(tmp_path, *profiles))) == canonicalize(merge(profiles))
    profiles.append(encode(content, Style(unknown_fields=True)))
    merged = run_program(write_files(tmp_path, *profiles))
    assert not merged or canonicalize(merged) == canonicalize(merge(profiles))


def test_the_merging_process_does_not_import_protobuf(tmp_path: Path) -> None:
    files = write_files(tmp_path, *[encode(profile(Sample(stack("a"), (1, 2))))] * 2)
    assert run_program(files, after="assert merged and 'google.protobuf' not in sys.modules, sorted(sys.modules)")


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"nonsense",
        encode(profile(Sample(stack("a"), (1,)))),
        encode(profile(Sample(stack("a"), (1,)), sample_types=((b"other", b"unit"),))),
    ],
    ids=["empty", "nonsense", "values", "types"],
)
def test_invalid_files_are_left_to_one_process(tmp_path: Path, bad: bytes) -> None:
    good = encode(profile(Sample(stack("a"), (1, 2))))
    assert run_program(write_files(tmp_path, good, bad, good)) == b""
    assert run_program([*write_files(tmp_path, good, good), tmp_path / "missing"]) == b""


def test_sample_types_that_may_exceed_limits_are_left_to_one_process(tmp_path: Path) -> None:
    files = write_files(
        tmp_path, *[encode(profile(Sample(stack("a"), (1,)), sample_types=((b"x" * 2000, b"y"),)))] * 2
    )
    assert run_program(files) == b""


def test_an_error_names_the_file(tmp_path: Path) -> None:
    good = encode(profile(Sample(stack("a"), (1, 2))))
    files = write_files(tmp_path, good, good[:-20], good)
    main = "from profbucket.cli import main; main()"
    command: list[str | Path] = [sys.executable, "-c", main, "merge", *files, "-o", tmp_path / "out"]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr == f"profbucket: {files[1]}: the gzip stream is truncated\n"
    assert not (tmp_path / "out").exists()


# The child process is killed before or after its first chunk, or exits within a chunk.
KILLED = """
def split_until_killed(files, limits, split_files=two_process_merge._split_files):
    for i, chunk in enumerate(split_files(files, limits)):
        if i == {chunk}:
            os.kill(os.getpid(), signal.SIGKILL)
        yield chunk
two_process_merge._split_files = split_until_killed
"""
TRUNCATED = """
def dump_truncated(chunk, dumps=two_process_merge.marshal.dumps):
    os.write(write_end, (10_000).to_bytes(8) + dumps(chunk)[:50])
    os._exit(0)
open_pipe = os.pipe
def open_known_pipe():
    global write_end
    ends = open_pipe()
    write_end = ends[1]
    return ends
os.pipe = open_known_pipe
import types
two_process_merge.marshal = types.SimpleNamespace(dumps=dump_truncated, loads=two_process_merge.marshal.loads)
"""


@pytest.mark.parametrize("before", [KILLED.format(chunk=0), KILLED.format(chunk=1), TRUNCATED])
def test_if_the_child_process_dies_there_is_no_merge_and_no_hang(before: str) -> None:
    assert run_program(sorted(DATA.glob("shop-*/heap-*.pb.gz")) * 20, before) == b""


def test_one_file_a_pipe_or_one_processor_does_not_fork(tmp_path: Path) -> None:
    no_fork = "def fork(): raise AssertionError\nos.fork = fork\n"
    files = write_files(tmp_path, *[encode(profile(Sample(stack("a"), (1, 2))))] * 2)
    assert run_program(files[:1], no_fork) == b""
    assert run_program([files[0], Path("/dev/stdin")], no_fork) == b""
    assert run_program(files, f"{no_fork}os.cpu_count = lambda: 1") == b""


def test_a_process_that_imported_numpy_does_not_fork(tmp_path: Path) -> None:
    files = write_files(tmp_path, *[encode(profile(Sample(stack("a"), (1, 2))))] * 2)
    assert merge_files([str(file) for file in files], Limits()) is None
