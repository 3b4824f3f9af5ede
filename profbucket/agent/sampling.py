"""The sampler: where threads spend CPU time and wall time, at about 100 samples a second."""

import random
import re
import sys
import threading
import time
from collections.abc import Callable, Collection
from itertools import chain, islice, tee
from types import CodeType, FrameType

from profbucket.agent.encoding import Encoder, Frame
from profbucket.agent.native import get_ident, monotonic_ns, thread_time_ns, time_ns

PERIOD_NANOS = 10_000_000  # mean time between two CPU samples
WALL_EVERY = 10  # every tenth sample includes the threads that do not run

_RUNNING_TEST_SECONDS = 0.0002  # how long a clock is watched to prove that its thread is running
_SWITCH_INTERVAL_SECONDS = 0.0002  # Python's default of 5 ms is longer than many requests
_LATE_SECONDS = 0.0008  # a pause that took longer means that the GIL was not released promptly
_MAX_RUNNING_TESTS = 4
_JITTER_SECONDS = 0.002
_MAX_DEPTH = 512  # innermost frames of a stack that are kept
_MIN_PAUSE_PER_COST = 50  # so that sampling, including waiting for the GIL, takes at most 2 percent of the time

_RANDOM = random.Random()  # noqa: S311 # not the global generator, which the program may have seeded

# The numbers in generated thread names, which would make each request a thread of its own in the profile.
_GENERATED_NUMBER = re.compile(r"(?<=^Thread)-\d+|(?<=^Dummy)-\d+|(?<=^ThreadPoolExecutor)-\d+_\d+")

Stack = tuple[int, ...]  # id of the code and instruction offset of each frame, alternating, leaf first
Place = tuple[str, Stack]  # name of a thread, and its stack


class SwitchInterval:
    """The interpreter's switch interval, which is lowered while sampling.

    The sampler runs only when the running thread releases the GIL. That thread does so when it blocks, or else
    after the switch interval. With a long interval, most samples would be taken when a thread blocks, and the
    CPU time before would be attributed to the blocking call.
    """

    def __init__(self) -> None:
        self._original: float | None = None

    @property
    def is_lowered(self) -> bool:
        return self._original is not None

    def lower(self) -> None:
        if self._original is None:
            self._original = sys.getswitchinterval()
            sys.setswitchinterval(min(self._original, _SWITCH_INTERVAL_SECONDS))

    def restore(self) -> None:
        """Restore the original interval, unless the program has set another one. Also called after a fork."""
        original, self._original = self._original, None
        if original is not None and sys.getswitchinterval() < 2 * _SWITCH_INTERVAL_SECONDS:
            sys.setswitchinterval(original)


SWITCH_INTERVAL = SwitchInterval()


class _CpuClock:
    """The CPU clock of a thread, and the time on it that is not attributed to a place yet."""

    __slots__ = ("clock_id", "last", "unattributed")

    def __init__(self, clock_id: int) -> None:
        self.clock_id = clock_id
        self.last = self.unattributed = 0  # nanoseconds

    def advance(self) -> int:
        """Read the clock; return the nanoseconds since the last reading, or -1 if the thread has ended."""
        try:
            now = time.clock_gettime_ns(self.clock_id)
        except OSError:
            return -1
        advance, self.last = now - self.last, now
        self.unattributed += advance
        return advance


class Sampler:
    """A sampler of all threads except the *ignored* ones. It is used from one thread.

    CPU time is measured by each thread's own clock, so that idle threads have none. It is attributed to the
    place of the thread when it is next seen running, which means that its clock advances. Native code counts as
    the Python function that called it. *pause* sleeps for some seconds.
    """

    def __init__(
        self, ignored: Collection[int], pause: Callable[[float], object], *, cpu: bool = True, wall: bool = True
    ) -> None:
        self._ignored = ignored  # more may be added to it
        self._pause = pause
        self._samples_cpu = cpu
        self._samples_wall = wall
        self._clocks: dict[int, _CpuClock] = {}  # by thread ident
        self._thread_names: dict[int, str] = {}  # by thread ident
        self._codes: dict[
            int, tuple[CodeType, str]
        ] = {}  # code and module by id(code), which the reference keeps valid
        self._last_running: dict[int, Place] = {}  # where each thread was last seen running
        self._cpu: dict[Place, list[int]] = {}  # samples and nanoseconds
        self._wall: dict[Place, int] = {}  # nanoseconds
        self._present: dict[Place, int] = {}  # threads at the last wall sample
        self._sample_count = 0
        self.started_at = time_ns()
        self._own_cpu = thread_time_ns()
        self._start = self._last = self._last_wall = monotonic_ns()
        if cpu:
            self._add_clocks(_read_clock_ids(), 0)

    def sample(self, *, last: bool = False) -> float:
        """Take one sample; return the seconds until the next one, which are random.

        The *last* sample attributes all remaining CPU time.
        """
        self._sample_count += 1
        with_wall = self._samples_wall and (last or self._sample_count % WALL_EVERY == 0)
        running = self._running_threads() if self._samples_cpu else ()
        frames, now = self._current_frames(), monotonic_ns()
        if with_wall:
            self._present.clear()
        for ident, frame in frames.items():
            with_cpu = self._samples_cpu and (ident in running or (last and ident in self._clocks))
            if with_cpu or with_wall:
                place = (self._thread_name(ident), self._stack(frame))
                if with_cpu:
                    self._attribute(ident, place if ident in running else self._last_running.get(ident, place))
                if with_wall:
                    self._wall[place] = self._wall.get(place, 0) + now - self._last_wall
                    self._present[place] = self._present.get(place, 0) + 1
        if with_wall:
            self._last_wall = now
        if self._samples_cpu:
            self._update_clocks(frames, now - self._last)
        self._last = now
        before, self._own_cpu = self._own_cpu, thread_time_ns()
        cost = self._own_cpu - before
        return max(PERIOD_NANOS * _RANDOM.uniform(0.8, 1.2), cost * _MIN_PAUSE_PER_COST) / 1e9

    def cpu_profile(self) -> bytes | None:
        """Return the profile of CPU time, or ``None`` if no thread spent any."""
        sample_types = (("samples", "count"), ("cpu", "nanoseconds"))
        return self._encode(Encoder(sample_types, ("cpu", "nanoseconds"), PERIOD_NANOS), self._cpu)

    def wall_profile(self) -> bytes | None:
        """Return the profile of wall time, with the number of threads at the last sample."""
        sample_types = (("threads", "count"), ("wall", "nanoseconds"))
        encoder = Encoder(sample_types, ("wall", "nanoseconds"), PERIOD_NANOS * WALL_EVERY)
        values = {place: [self._present.get(place, 0), nanos] for place, nanos in self._wall.items()}
        return self._encode(encoder, values)

    def close(self) -> None:
        """Restore the interpreter's switch interval."""
        SWITCH_INTERVAL.restore()

    def _running_threads(self) -> Collection[int]:
        """Return the idents of the threads that are running."""
        before = monotonic_ns()
        advances = self._advance_clocks()
        if advances and not SWITCH_INTERVAL.is_lowered:
            # This thread got the GIL because another one blocked: a biased moment. Sample at a random one instead.
            SWITCH_INTERVAL.lower()
            self._pause(_RANDOM.random() * _JITTER_SECONDS)
            before = monotonic_ns()
            for ident, nanos in self._advance_clocks().items():
                advances[ident] = advances.get(ident, 0) + nanos
        always = {ident for ident, nanos in advances.items() if 10 * nanos > 9 * (before - self._last)}
        running = always if len(always) == len(advances) else self._test_running()
        if len(advances) > 1:
            SWITCH_INTERVAL.restore()  # with several running threads, a low interval costs the program time
        return running

    def _test_running(self) -> Collection[int]:
        """Return the idents of the threads whose clocks advance during a short pause."""
        running: set[int] = set()
        for _ in range(_MAX_RUNNING_TESTS):
            before = monotonic_ns()
            self._pause(_RUNNING_TEST_SECONDS)
            elapsed = monotonic_ns() - before
            advances = self._advance_clocks()
            if 5 * sum(advances.values()) < 4 * elapsed:
                return ()  # the running thread has stopped in the meantime
            running = {ident for ident, nanos in advances.items() if 2 * nanos > elapsed}
            # After a late wake-up the thread may have blocked, which released the GIL; then its clock stops in the
            # next test.
            if not running or elapsed < _LATE_SECONDS * 1e9:
                break
        return running

    def _advance_clocks(self) -> dict[int, int]:
        """Return the nanoseconds by which each clock has advanced, for those that have."""
        advances = {}
        for ident, clock in list(self._clocks.items()):
            nanos = clock.advance()
            if nanos > 0:
                advances[ident] = nanos
            elif nanos < 0:
                if (place := self._last_running.pop(ident, None)) and clock.unattributed:
                    self._attribute(ident, place)
                del self._clocks[ident]
                self._thread_names.pop(ident, None)  # the ident may be reused
        return advances

    def _current_frames(self) -> dict[int, FrameType]:
        """Return the innermost frame of each thread."""
        frames = sys._current_frames()
        frames.pop(get_ident(), None)  # would be a reference cycle
        for ident in self._ignored:
            frames.pop(ident, None)
        return frames

    def _update_clocks(self, frames: dict[int, FrameType], elapsed: int) -> None:
        """Add the clocks of new threads, and clear those of threads that have left Python."""
        if frames.keys() - self._clocks.keys():
            self._add_clocks(_read_clock_ids(), elapsed)
        for ident in self._clocks.keys() - frames.keys():
            self._clocks[ident].unattributed = 0

    def _add_clocks(self, clock_ids: dict[int, int], elapsed: int) -> None:
        for ident, clock_id in clock_ids.items():
            if ident not in self._clocks and ident not in self._ignored and ident != get_ident():
                clock = _CpuClock(clock_id)
                # A new thread spent all its time since the last sample; one that came from C may have spent more,
                # which does not count.
                if not 0 <= clock.advance() <= elapsed:
                    clock.unattributed = 0
                self._clocks[ident] = clock

    def _attribute(self, ident: int, place: Place) -> None:
        clock = self._clocks[ident]
        if clock.unattributed:
            values = self._cpu.setdefault(place, [0, 0])
            values[0] += 1
            values[1] += clock.unattributed
            clock.unattributed = 0
            self._last_running[ident] = place

    def _thread_name(self, ident: int) -> str:
        name = self._thread_names.get(ident)
        if name is None:
            thread = threading._active.get(ident)  # type: ignore[attr-defined] # enumerate() would take a lock
            name = self._thread_names[ident] = _GENERATED_NUMBER.sub("", thread.name) if thread else ""
        return name

    def _stack(self, frame: FrameType | None) -> Stack:
        codes = self._codes
        stack: list[int] = []
        while frame is not None and len(stack) < 2 * _MAX_DEPTH:
            code = frame.f_code
            code_id = id(code)
            if code_id not in codes:
                codes[code_id] = (code, str(frame.f_globals.get("__name__", "")))
            stack += (code_id, frame.f_lasti)
            frame = frame.f_back
        return tuple(stack)

    def _encode(self, encoder: Encoder, values_by_place: dict[Place, list[int]]) -> bytes | None:
        location_ids: dict[tuple[int, int], int] = {}
        for (thread_name, stack), values in values_by_place.items():
            sample = []
            for key in zip(stack[::2], stack[1::2], strict=True):
                if key not in location_ids:
                    code_id, instruction = key
                    location_ids[key] = encoder.location(_frame(*self._codes[code_id], instruction))
                sample.append(location_ids[key])
            encoder.add(sample, values, {"thread": thread_name} if thread_name else {})
        return encoder.encode(self.started_at, self._last - self._start) if values_by_place else None


def _read_clock_ids() -> dict[int, int]:
    """Return the id of the CPU clock of each thread that runs Python, by ident.

    ``pthread_getcpuclockid`` may crash for a thread that has ended. All of this therefore runs in C code, which
    never releases the GIL, so that no thread can end meanwhile. A clock id can safely be read for ever.
    """
    idents, same_idents = tee(chain.from_iterable(islice(iter(sys._current_frames, None), 1)))
    try:
        return dict(zip(idents, map(time.pthread_getcpuclockid, same_idents), strict=False))
    except OSError:
        return {}


def _frame(code: CodeType, module: str, instruction: int) -> Frame:
    line = next((line for start, end, line in code.co_lines() if start <= instruction < end), None)
    name = f"{module}.{code.co_qualname}" if module else code.co_qualname
    return name, code.co_filename, code.co_firstlineno, line or code.co_firstlineno
