"""A Python program that profiles itself and writes a CPU and a heap pprof.

Its profiles differ from Go's as much as the format allows: no mappings or addresses, large sparse ids, strings in
reverse order, packed fields, numeric labels with units, several lines per recursive function, and one file without
gzip.
"""

import argparse
import gzip
import hashlib
import sys
import sysconfig
import threading
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import CodeType, FrameType

from profbucket.pprof import profile_pb2

HERE = Path(__file__).resolve().parent
STDLIB = Path(sysconfig.get_path("stdlib")).resolve()
PERIOD_NANOS = 5_000_000  # between two samples

ValueType = tuple[str, str]  # type and unit
Frame = tuple[str, str, int, int]  # function, file, first line of the function, current line
Label = tuple[str, str | int, str]  # key, string or number, unit
Stack = tuple[tuple[Frame, ...], tuple[Label, ...]]  # leaf first


class Basket:
    """A tree of baskets whose price takes a while to compute."""

    def __init__(self, depth: int) -> None:
        self.inner = [Basket(depth - 1) for _ in range(2)] if depth else []
        self.items = [f"größe-{depth}-{number}" for number in range(40)]

    def price(self) -> int:
        return sum(map(priced, self.items)) + sum(basket.price() for basket in self.inner)


def priced(item: str) -> int:
    digest = hashlib.blake2b(item.encode()).digest()
    return sum(byte * byte for byte in digest) % 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seconds", type=float, default=0.6)
    args = parser.parse_args()
    cpu = profile_cpu(args.seconds)
    (args.directory / "python-cpu.pb.gz").write_bytes(gzip.compress(cpu, mtime=0))
    (args.directory / "python-heap.pb").write_bytes(profile_heap())


def profile_cpu(seconds: float) -> bytes:
    """Sample three working threads; each sample has labels for its thread and the depth of its baskets."""
    sizes = {"busy": 6, "idle": 0, "often": 3}
    stop = threading.Event()
    threads = [threading.Thread(target=work, args=(depth, stop), name=name) for name, depth in sizes.items()]
    for thread in threads:
        thread.start()
    samples: dict[Stack, list[int]] = defaultdict(lambda: [0, 0, 0])
    clocks = dict.fromkeys(threads, 0)
    begin = time.time_ns()
    last = time.monotonic_ns()
    # All threads outlive the last sample: reading the CPU clock of an ended thread may crash.
    while time.time_ns() < begin + seconds * 1e9:
        time.sleep(PERIOD_NANOS / 1e9)
        frames = sys._current_frames()
        now = time.monotonic_ns()
        for thread in threads:
            if (ident := thread.ident) in frames:
                clock = time.clock_gettime_ns(time.pthread_getcpuclockid(ident))
                values = samples[stack_of(frames[ident]), labels_of(thread.name, sizes[thread.name])]
                values[0] += 1
                values[1] += now - last
                values[2] += clock - clocks[thread]
                clocks[thread] = clock
        last = now
        del frames  # a reference cycle with this frame
    stop.set()
    for thread in threads:
        thread.join()
    types = (("samples", "count"), ("wall", "nanoseconds"), ("cpu", "nanoseconds"))
    return encode(
        types, samples, ("wall", "nanoseconds"), PERIOD_NANOS, begin=begin, duration=time.time_ns() - begin
    )


def labels_of(thread: str, depth: int) -> tuple[Label, ...]:
    # A key may have several values, and their order matters.
    return ("thread", thread, ""), ("depth", depth, "baskets"), ("team", "shop", ""), ("team", "core", "")


def work(depth: int, stop: threading.Event) -> None:
    while not stop.is_set():
        if depth:
            Basket(depth).price()
        else:
            stop.wait(0.01)


def profile_heap() -> bytes:
    """Return the memory of a tree of baskets, with one sample per stack and size."""
    tracemalloc.start(20)
    begin = time.time_ns()
    basket = Basket(5)
    snapshot = tracemalloc.take_snapshot()
    tracemalloc.stop()
    del basket
    samples: dict[Stack, list[int]] = defaultdict(lambda: [0, 0])
    for trace in snapshot.traces:
        # tracemalloc records files and lines but no functions; the file replaces the function.
        frames = tuple(
            (f"<{short(f.filename)}>", short(f.filename), 0, f.lineno) for f in reversed(trace.traceback)
        )
        values = samples[frames, (("size", trace.size, "bytes"),)]
        values[0] += 1
        values[1] += trace.size
    return encode(
        (("inuse_objects", "count"), ("inuse_space", "bytes")),
        samples,
        ("space", "bytes"),
        1,
        begin=begin,
        duration=0,
    )


def stack_of(frame: FrameType | None) -> tuple[Frame, ...]:
    frames = []
    while frame:
        code: CodeType = frame.f_code
        frames.append((code.co_qualname, short(code.co_filename), code.co_firstlineno, frame.f_lineno))
        frame = frame.f_back
    return tuple(frames)


def short(file: str) -> str:
    """Return the name of *file* without folders of this machine."""
    path = Path(file)
    for root in (HERE, STDLIB):
        if path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return path.name


def encode(
    types: Sequence[ValueType],
    samples: Mapping[Stack, Sequence[int]],
    period_type: ValueType,
    period: int,
    *,
    begin: int,
    duration: int,
) -> bytes:
    """Return an uncompressed pprof of *samples*."""
    frames = {frame for stack, _ in samples for frame in stack}
    functions = {frame[:3] for frame in frames}
    labels = {label for _, labels in samples for label in labels}
    texts = {text for pair in (*types, period_type) for text in pair}
    texts |= {text for name, file, _ in functions for text in (name, file)}
    texts |= {text for label in labels for text in label if isinstance(text, str)} | {"make_profiles.py"}
    strings = ["", *sorted(texts - {""}, reverse=True)]
    index = {text: number for number, text in enumerate(strings)}

    out = profile_pb2.Profile(
        string_table=[text.encode() for text in strings],
        time_nanos=begin,
        duration_nanos=duration,
        period=period,
        comment=[index["make_profiles.py"]],
        default_sample_type=index[types[-1][0]],
    )
    for name, unit in types:
        out.sample_type.add(type=index[name], unit=index[unit])
    out.period_type.type, out.period_type.unit = index[period_type[0]], index[period_type[1]]
    for name, file, line in sorted(functions):
        out.function.add(id=wide_id(name, file, line), name=index[name], filename=index[file], start_line=line)
    for frame in sorted(frames):
        location = out.location.add(id=wide_id(*frame))
        location.line.add(function_id=wide_id(*frame[:3]), line=frame[3])
    for (stack, labels_of_sample), values in samples.items():
        sample = out.sample.add(location_id=[wide_id(*frame) for frame in stack], value=values)
        for key, value, unit in labels_of_sample:
            label = sample.label.add(key=index[key], num_unit=index[unit])
            if isinstance(value, str):
                label.str = index[value]
            else:
                label.num = value
    return out.SerializeToString()


def wide_id(*parts: str | int) -> int:
    """Return an id from the whole range of 64 bits, so that readers cannot use ids as indices."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") or 1


if __name__ == "__main__":
    main()
