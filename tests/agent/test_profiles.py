"""What the agent writes, and what it counts."""

import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.agent.encoding import Encoder, Frame
from profbucket.agent.heap import heap
from profbucket.agent.sampling import PROMPT, Sampler
from profbucket.pprof import decode
from tests.support.agent.programs import python
from tests.support.go_tool import GoPprof

names = st.text(max_size=8) | st.sampled_from(["größe", "<module>", "f.<locals>.g", "\ud800"])
frames: st.SearchStrategy[Frame] = st.tuples(names, names, st.integers(0, 2**31), st.integers(0, 2**31))
samples = st.tuples(st.lists(frames, max_size=5), st.integers(0, 2**59), st.dictionaries(names, names, max_size=2))


@given(st.lists(samples, min_size=1, max_size=8), st.integers(0, 2**62))
def test_what_is_written_is_what_is_read(
    given_samples: list[tuple[list[Frame], int, dict[str, str]]], at: int
) -> None:
    """Stacks, values and labels, by the collector's own reader."""
    encoder = Encoder((("cpu", "nanoseconds"),), ("cpu", "nanoseconds"), 10)
    for stack, value, labels in given_samples:
        encoder.add([encoder.location(frame) for frame in stack], (value,), labels)
    message = decode(encoder.encode(at, 7)).message
    text = [one.decode() for one in message.string_table]
    functions = {f.id: (text[f.name], text[f.filename], f.start_line) for f in message.function}
    lines = {x.id: (*functions[x.line[0].function_id], x.line[0].line) for x in message.location}
    read = [
        ([lines[i] for i in s.location_id], s.value[0], {text[x.key]: text[x.str] for x in s.label})
        for s in message.sample
    ]

    def plain(one: str) -> str:
        return one.encode(errors="replace").decode()

    expected = [
        (
            [(plain(a), plain(b), c, d) for a, b, c, d in stack],
            value,
            {plain(k): plain(v) for k, v in labels.items()},
        )
        for stack, value, labels in given_samples
    ]
    assert read == expected
    assert (message.time_nanos, message.duration_nanos, message.period) == (at, 7, 10)
    assert text[message.default_sample_type] == "cpu"


def test_an_import_brings_the_standard_library_only() -> None:
    text = (
        "import sys; before = set(sys.modules); from profbucket import agent\n"
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before} - sys.stdlib_module_names))"
    )
    assert python(text).check().text.split() == ["profbucket"]


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()
    PROMPT.undo()


def sampled(looks: int, stop: threading.Event, *, pause: float = 0.01) -> Sampler:
    """What is seen in so many looks of the other threads than this one."""
    sampler = Sampler([], time.sleep)
    for _ in range(looks):
        time.sleep(pause)
        sampler.look()
    sampler.look(last=True)
    stop.set()
    return sampler


def spent(sampler: Sampler) -> dict[str, int]:
    """CPU time by function, with all it called."""
    data = sampler.cpu()
    assert data is not None
    message = decode(data).message
    functions = {f.id: message.string_table[f.name].decode() for f in message.function}
    places = {x.id: functions[x.line[0].function_id] for x in message.location}
    found: dict[str, int] = {}
    for sample in message.sample:
        for name in {places[i] for i in sample.location_id}:
            found[name.rpartition(".")[2]] = found.get(name.rpartition(".")[2], 0) + sample.value[1]
    return found


def work(nanoseconds: int) -> None:
    end = time.thread_time_ns() + nanoseconds
    while time.thread_time_ns() < end:
        pass


def test_bursts_that_end_in_a_wait_are_not_put_down_to_the_wait(stop: threading.Event) -> None:
    """A thread that gives the interpreter away only where it waits is seen at its work all the same.

    With Python's own switch interval, longer than each burst, all of it would be in the wait.
    """

    def serve() -> None:
        while not stop.is_set():
            work(3_000_000)
            stop.wait(0.006)

    threading.Thread(target=serve, daemon=True).start()
    found = spent(sampled(250, stop))
    assert found["work"] > 0.4 * found["serve"]


def test_time_in_native_code_is_that_of_the_function_that_called(stop: threading.Event) -> None:
    text = bytes(1 << 20)

    def hashing() -> None:
        import hashlib

        while not stop.is_set():
            hashlib.sha256(text).digest()  # without the interpreter's lock

    thread = threading.Thread(target=hashing, daemon=True)
    thread.start()
    found = spent(sampled(30, stop))
    assert found["hashing"] > 0.9 * max(found.values())


def test_threads_that_come_and_go_are_counted_and_never_asked_for_again(stop: threading.Event) -> None:
    """Hundreds of threads end while others are looked at; what they spent is in the profile."""

    def short() -> None:
        work(15_000_000)

    def start() -> None:
        while not stop.is_set():
            threads = [threading.Thread(target=short) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    thread = threading.Thread(target=start, daemon=True)
    thread.start()
    sampler = sampled(100, stop)
    thread.join()
    assert spent(sampler)["short"] > 0
    data = sampler.cpu()
    assert data
    message = decode(data).message
    named = {message.string_table[label.str] for sample in message.sample for label in sample.label}
    assert b"Thread (short)" in named  # without the number that makes each another


def test_the_programs_switch_interval_is_as_it_was(stop: threading.Event) -> None:
    before = sys.getswitchinterval()

    def busy() -> None:
        while not stop.is_set():
            work(1_000_000)

    threading.Thread(target=busy, daemon=True).start()
    sampler = sampled(20, stop)
    assert sys.getswitchinterval() < before  # only while it looks
    sampler.close()
    assert sys.getswitchinterval() == before
    PROMPT.set()
    sys.setswitchinterval(before * 2)  # by the program
    PROMPT.undo()
    assert sys.getswitchinterval() == before * 2
    sys.setswitchinterval(before)


def test_frames_are_not_held_between_two_looks(stop: threading.Event) -> None:
    """What a function held is gone when it returns, as without the agent."""

    class Held:
        pass

    import gc
    import weakref

    sampler = Sampler([], time.sleep)
    inside, leave, gone = threading.Event(), threading.Event(), threading.Event()
    found: list[weakref.ref[Held]] = []

    def holds() -> None:
        held = Held()
        found.append(weakref.ref(held))
        inside.set()
        leave.wait()

    def run() -> None:
        holds()
        gone.set()

    thread = threading.Thread(target=run)
    gc.disable()
    try:
        thread.start()
        inside.wait()
        for _ in range(20):
            sampler.look()
        leave.set()
        gone.wait()
        thread.join()
        assert found[0]() is None
    finally:
        gc.enable()


def test_a_deep_recursion_is_cut_at_its_outer_end(stop: threading.Event) -> None:
    def deep(depth: int) -> None:
        if depth:
            deep(depth - 1)
        else:
            while not stop.is_set():
                work(1_000_000)

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(5000)
    try:
        thread = threading.Thread(target=deep, args=(2000,), daemon=True)
        thread.start()
        data = sampled(20, stop).cpu()
        thread.join()
    finally:
        sys.setrecursionlimit(limit)
    assert data is not None
    longest = max(len(sample.location_id) for sample in decode(data).message.sample)
    assert longest == 512


def test_there_is_no_heap_profile_where_nothing_is_traced() -> None:
    assert not tracemalloc.is_tracing()
    assert heap() is None


def test_a_heap_profile_has_what_is_held_by_line(go_pprof: GoPprof, tmp_path: Path) -> None:
    tracemalloc.start(10)
    try:
        kept = [bytes(1000) for _ in range(1000)]
        data = heap()
    finally:
        tracemalloc.stop()
    assert data is not None
    assert len(kept) == 1000
    (tmp_path / "heap.pb.gz").write_bytes(data)
    top = go_pprof("-top", "-unit=B", tmp_path / "heap.pb.gz").check().text
    assert "Type: inuse_space" in top
    first = next(
        line for line in top.splitlines() if f"{__name__.rpartition('.')[2]}:" in line or "test_profiles" in line
    )
    assert int(first.split()[0].removesuffix("B")) >= 1_000_000
