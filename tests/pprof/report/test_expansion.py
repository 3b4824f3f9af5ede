"""Profiles whose reports are much larger than they are: reports are limited before they are expanded."""

import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from profbucket.errors import TooMany
from profbucket.limits import Limits
from profbucket.pprof import decode, encode, profile_pb2
from profbucket.pprof.report.flamegraph import build_flamegraph
from profbucket.pprof.report.top import build_top_report

_MAX_MEMORY_BYTES = 100 << 20
_MAX_SECONDS = 20.0


def make_inlined(count: int) -> bytes:
    """Return a profile of *count*² frames: a location with *count* inlined functions, *count* times in a stack."""
    return encode(
        profile_pb2.Profile(
            string_table=[b"", b"cpu", b"nanoseconds", b"f"],
            sample_type=[{"type": 1, "unit": 2}],
            function=[{"id": 1, "name": 3}],
            location=[{"id": 1, "line": [{"function_id": 1}] * count}],
            sample=[{"location_id": [1] * count, "value": [1]}],
        )
    )


def make_long_strings(count: int, size: int, *, named: bool) -> bytes:
    """Return a profile whose *count* functions share a file, a binary and, if *named*, a name of *size* bytes."""
    message = profile_pb2.Profile(
        string_table=[b"", b"cpu", b"nanoseconds", b"/" + b"x" * size, b"/" + b"y" * size],
        sample_type=[{"type": 1, "unit": 2}],
        mapping=[{"id": 1, "filename": 3}],
    )
    for i in range(1, count + 1):
        message.string_table.append(b"f%d" % i)
        message.function.add(
            id=i, name=4 if named else 0, system_name=4 + i if named else 0, start_line=i, filename=3
        )
        message.location.add(id=i, mapping_id=1, line=[{"function_id": i}])
        message.sample.add(location_id=[i], value=[1])
    return encode(message)


def flame(data: bytes, limits: Limits = Limits()) -> Any:
    return build_flamegraph([data], "", 1000, limits=limits)


def flame_of_two(data: bytes, limits: Limits = Limits()) -> Any:
    return build_flamegraph([data, data], "", 1000, limits=limits)


def top(data: bytes, limits: Limits = Limits()) -> Any:
    return list(build_top_report(decode(data, limits), count=10, limits=limits).lines())


def measure(call: Callable[[], object]) -> tuple[float, int]:
    """Return the seconds that *call* takes, and the peak of its memory in bytes."""
    tracemalloc.start()
    try:
        begin = time.perf_counter()
        call()
        return time.perf_counter() - begin, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("report", [flame, flame_of_two, top])
def test_repeated_inlined_frames_are_rejected_before_they_are_expanded(report: Callable[[bytes], object]) -> None:
    data = make_inlined(12_000)
    assert len(data) < 20_000

    def reject() -> None:
        with pytest.raises(TooMany) as caught:
            report(data)
        assert caught.value.code == "max_frames_exceeded"

    seconds, memory = measure(reject)
    assert seconds < _MAX_SECONDS
    assert memory < _MAX_MEMORY_BYTES


@pytest.mark.parametrize(("report", "factor"), [(flame, 1), (flame_of_two, 2), (top, 1)])
def test_the_limit_of_frames_is_exact(report: Callable[[bytes, Limits], object], factor: int) -> None:
    data = make_inlined(10)
    report(data, Limits(frames=factor * 100))
    with pytest.raises(TooMany):
        report(data, Limits(frames=factor * 100 - 1))


def test_samples_of_a_flame_graph_take_no_python_objects() -> None:
    """A profile of a megabyte may hold a quarter of a million samples."""
    message = profile_pb2.Profile(string_table=[b"", b"cpu", b"ns"], sample_type=[{"type": 1, "unit": 2}])
    data = message.SerializeToString() + b"\x12\x02\x10\x01" * 250_000  # samples of value 1 without a stack
    _, memory = measure(lambda: flame(data))
    assert memory < 250_000 * 150


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("report", [flame, top])
def test_a_long_string_that_many_functions_share_is_not_copied(
    report: Callable[[bytes], object], *, named: bool
) -> None:
    data = make_long_strings(5_000, 1 << 20, named=named)  # 5 GB, if it were copied
    seconds, memory = measure(lambda: report(data))
    assert seconds < _MAX_SECONDS
    assert memory < _MAX_MEMORY_BYTES


def test_the_command_top_has_the_limit(tmp_path: Path) -> None:
    file = tmp_path / "profile.pb.gz"
    file.write_bytes(make_inlined(12_000))
    process = subprocess.run(
        [sys.executable, "-m", "profbucket", "top", file], capture_output=True, text=True, timeout=60, check=False
    )
    assert process.returncode == 1
    assert "PROFBUCKET_MAX_FRAMES" in process.stderr
    assert "Traceback" not in process.stderr
