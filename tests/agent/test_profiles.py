"""The agent's profiles: encoding, CPU time, threads, heap."""

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
from profbucket.agent.heap import take_heap_profile
from profbucket.agent.sampling import SWITCH_INTERVAL, Sampler
from profbucket.pprof import decode
from tests.support.agent.programs import program
from tests.support.go_tool import GoPprof

names = st.text(max_size=8) | st.sampled_from(["größe", "<module>", "f.<locals>.g", "\ud800"])
frames: st.SearchStrategy[Frame] = st.tuples(names, names, st.integers(0, 2**31), st.integers(0, 2**31))
samples = st.tuples(st.lists(frames, max_size=5), st.integers(0, 2**59), st.dictionaries(names, names, max_size=2))


@given(st.lists(samples, min_size=1, max_size=8), st.integers(0, 2**62))
def test_the_collector_decodes_what_the_agent_encodes(
    given_samples: list[tuple[list[Frame], int, dict[str, str]]], at: int
) -> None:
    encoder = Encoder((("cpu", "nanoseconds"),), ("cpu", "nanoseconds"), 10)
    for stack, value, labels in given_samples:
        encoder.add([encoder.location(frame) for frame in stack], (value,), labels)
    message = decode(encoder.encode(at, 7)).message
    text = [item.decode() for item in message.string_table]
    functions = {f.id: (text[f.name], text[f.filename], f.start_line) for f in message.function}
    lines = {x.id: (*functions[x.line[0].function_id], x.line[0].line) for x in message.location}
    decoded = [
        ([lines[i] for i in s.location_id], s.value[0], {text[x.key]: text[x.str] for x in s.label})
        for s in message.sample
    ]

    def replace_surrogates(string: str) -> str:
        return string.encode(errors="replace").decode()

    expected = [
        (
            [(replace_surrogates(a), replace_surrogates(b), c, d) for a, b, c, d in stack],
            value,
            {replace_surrogates(k): replace_surrogates(v) for k, v in labels.items()},
        )
        for stack, value, labels in given_samples
    ]
    assert decoded == expected
    assert (message.time_nanos, message.duration_nanos, message.period) == (at, 7, 10)
    assert text[message.default_sample_type] == "cpu"


def test_the_agent_imports_only_the_standard_library() -> None:
    """Also when it runs; ``-S`` keeps site-packages off the path, so that an import from there would fail."""
    text = (
        "import sys; before = set(sys.modules); from profbucket import agent\n"
        "agent.start('http://127.0.0.1:1', 'x', labels={'a': 'b'}, every=0.1, seconds=0.1); agent.stop(0.5)\n"
        "imported = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(imported - sys.stdlib_module_names))\n"
    )
    done = program([sys.executable, "-S", "-c", text]).check()
    assert done.text.split() == ["profbucket"]
    assert "internal error" not in done.stderr


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()
    SWITCH_INTERVAL.restore()


def take_samples(count: int, stop: threading.Event) -> Sampler:
    """Sample the other threads *count* times, then set *stop*."""
    sampler = Sampler([], time.sleep)
    for _ in range(count):
        time.sleep(0.01)
        sampler.sample()
    sampler.sample(last=True)
    stop.set()
    return sampler


def cpu_by_function(sampler: Sampler) -> dict[str, int]:
    """Return the cumulative CPU time of each function, in nanoseconds."""
    data = sampler.cpu_profile()
    assert data is not None
    message = decode(data).message
    functions = {f.id: message.string_table[f.name].decode() for f in message.function}
    names_by_location = {x.id: functions[x.line[0].function_id] for x in message.location}
    nanos: dict[str, int] = {}
    for sample in message.sample:
        for name in {names_by_location[i].rpartition(".")[2] for i in sample.location_id}:
            nanos[name] = nanos.get(name, 0) + sample.value[1]
    return nanos


def work(nanoseconds: int) -> None:
    """Spend CPU time."""
    end = time.thread_time_ns() + nanoseconds
    while time.thread_time_ns() < end:
        pass


def test_the_cpu_time_of_short_bursts_is_not_attributed_to_the_wait_after_them(stop: threading.Event) -> None:
    """With Python's default switch interval, longer than each burst, all of it would be in the wait."""

    def serve() -> None:
        while not stop.is_set():
            work(3_000_000)
            stop.wait(0.006)

    threading.Thread(target=serve, daemon=True).start()
    nanos = cpu_by_function(take_samples(250, stop))
    assert nanos["work"] > 0.2 * nanos["serve"]  # on a busy machine less than on an idle one


def test_time_in_native_code_counts_for_the_calling_function(stop: threading.Event) -> None:
    text = bytes(1 << 20)

    def hashing() -> None:
        import hashlib

        while not stop.is_set():
            hashlib.sha256(text).digest()  # releases the GIL

    thread = threading.Thread(target=hashing, daemon=True)
    thread.start()
    nanos = cpu_by_function(take_samples(30, stop))
    assert nanos["hashing"] > 0.9 * max(nanos.values())


def test_short_lived_threads_are_counted(stop: threading.Event) -> None:
    """Hundreds of threads end during the sampling."""

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
    sampler = take_samples(100, stop)
    thread.join()
    assert cpu_by_function(sampler)["short"] > 0
    data = sampler.cpu_profile()
    assert data
    message = decode(data).message
    thread_names = {message.string_table[label.str] for sample in message.sample for label in sample.label}
    assert b"Thread (short)" in thread_names  # without the generated number


def test_the_programs_switch_interval_is_restored(stop: threading.Event) -> None:
    before = sys.getswitchinterval()

    def busy() -> None:
        while not stop.is_set():
            work(1_000_000)

    threading.Thread(target=busy, daemon=True).start()
    sampler = take_samples(20, stop)
    assert sys.getswitchinterval() < before  # during sampling
    sampler.close()
    assert sys.getswitchinterval() == before
    SWITCH_INTERVAL.lower()
    sys.setswitchinterval(before * 2)  # by the program
    SWITCH_INTERVAL.restore()
    assert sys.getswitchinterval() == before * 2
    sys.setswitchinterval(before)


def test_the_sampler_keeps_no_locals_alive_between_samples(stop: threading.Event) -> None:

    class Held:
        pass

    import gc
    import weakref

    sampler = Sampler([], time.sleep)
    inside, leave, gone = threading.Event(), threading.Event(), threading.Event()
    references: list[weakref.ref[Held]] = []

    def holds() -> None:
        held = Held()
        references.append(weakref.ref(held))
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
            sampler.sample()
        leave.set()
        gone.wait()
        thread.join()
        assert references[0]() is None
    finally:
        gc.enable()


def test_a_deep_stack_is_truncated_at_its_outer_end(stop: threading.Event) -> None:
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
        data = take_samples(20, stop).cpu_profile()
        thread.join()
    finally:
        sys.setrecursionlimit(limit)
    assert data is not None
    longest = max(len(sample.location_id) for sample in decode(data).message.sample)
    assert longest == 512


def test_without_tracemalloc_there_is_no_heap_profile() -> None:
    assert not tracemalloc.is_tracing()
    assert take_heap_profile() is None


def test_a_heap_profile_has_the_memory_in_use_by_line(go_pprof: GoPprof, tmp_path: Path) -> None:
    tracemalloc.start(10)
    try:
        kept = [bytes(1000) for _ in range(1000)]
        data = take_heap_profile()
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
