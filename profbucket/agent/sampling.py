"""What all threads do, looked at a hundred times a second: who spent CPU time, and where."""

import random
import re
import sys
import threading
import time
from collections.abc import Callable, Collection
from itertools import chain, islice, tee
from types import CodeType, FrameType

from profbucket.agent.encoding import Encoder, Frame
from profbucket.agent.native import get_ident

PERIOD = 10_000_000  # nanoseconds between two looks at who is running
WALL_LOOKS = 10  # every so many looks also at who is not

_MOMENT = 0.0002  # seconds in which a thread that runs is seen to
_SWITCH = 0.0002  # seconds that a thread may keep the interpreter from us; the usual 5 ms are whole requests
_LATE = 0.0008  # seconds after which that was not prompt
_TRIES = 4
_SPREAD = 0.002  # seconds within which chance puts a look
_DEPTH = 512  # innermost frames of a stack that are kept
_SHARE = 50  # looking, and waiting for one's turn to, may take two hundredths of the time

_CHANCE = random.Random()  # noqa: S311 # the program's own may be seeded, to be the same each time

# Names that the standard library makes up: with their numbers each request would be a thread of its own for ever.
_MADE_UP = re.compile(r"(?<=^Thread)-\d+|(?<=^Dummy)-\d+|(?<=^ThreadPoolExecutor)-\d+_\d+")

Stack = tuple[int, ...]  # code and instruction of each frame in turn, leaf first
Place = tuple[str, Stack]  # the name of a thread, and where it was


class Prompt:
    """Has running threads give way soon, while it is set.

    A thread that wants to look gets to when the one that runs gives the interpreter away. That one does so at
    once where it waits for something, and else after the interval that is set here: with a long one, whatever is
    done in between would be put down to the wait at its end.
    """

    def __init__(self) -> None:
        self._before: float | None = None

    @property
    def is_set(self) -> bool:
        return self._before is not None

    def set(self) -> None:
        if self._before is None:
            self._before = sys.getswitchinterval()
            sys.setswitchinterval(min(self._before, _SWITCH))

    def undo(self) -> None:
        """As it was; a child, which was forked while its parent looked, has to do so as well."""
        before, self._before = self._before, None
        if before is not None and sys.getswitchinterval() < 2 * _SWITCH:  # else the program has set it meanwhile
            sys.setswitchinterval(before)


PROMPT = Prompt()


class _Clock:
    """The CPU clock of a thread: what it said last, and how much of that is not put down to a place yet."""

    __slots__ = ("clock", "last", "owed")

    def __init__(self, clock: int) -> None:
        self.clock = clock
        self.last = self.owed = 0

    def moved(self) -> int:
        """By how many nanoseconds since it was asked last, or -1 where its thread has ended."""
        try:
            now = time.clock_gettime_ns(self.clock)
        except OSError:
            return -1
        moved, self.last = now - self.last, now
        self.owed += moved
        return moved


class Sampler:
    """Looks at all threads but the *ignored* ones, from one thread, and adds up what it saw.

    CPU time is that of each thread's own clock, so that who does not run is not counted. It is put down to where
    the thread is when it is next seen running, which is: while its clock moves. A thread in native code is where
    Python called that. *pause* waits so many seconds.
    """

    def __init__(
        self, ignored: Collection[int], pause: Callable[[float], object], *, cpu: bool = True, wall: bool = True
    ) -> None:
        self._ignored = ignored  # which may come to be more
        self._pause = pause
        self._wants_cpu = cpu
        self._wants_wall = wall
        self._clocks: dict[int, _Clock] = {}  # by the thread's ident
        self._names: dict[int, str] = {}
        self._codes: dict[int, tuple[CodeType, str]] = {}  # by their ids, theirs as long as we hold them
        self._running: dict[int, Place] = {}  # where each thread was seen running last
        self._cpu: dict[Place, list[int]] = {}
        self._wall: dict[Place, int] = {}
        self._present: dict[Place, int] = {}
        self._looks = 0
        self.begun = time.time_ns()
        self._spent = time.thread_time_ns()
        self._begin = self._last = self._last_wall = time.monotonic_ns()
        if cpu:
            self._meet(_clocks(), 0)

    def look(self, *, last: bool = False) -> float:
        """Look once; return in how many seconds the next look is due, which chance decides as well.

        The *last* look puts down what is still owed.
        """
        self._looks += 1
        everyone = self._wants_wall and (last or self._looks % WALL_LOOKS == 0)
        running = self._movers() if self._wants_cpu else ()
        frames, now = self._frames(), time.monotonic_ns()
        if everyone:
            self._present.clear()
        for ident, frame in frames.items():
            owed = self._wants_cpu and (ident in running or (last and ident in self._clocks))
            if owed or everyone:
                place = (self._name(ident), self._stack(frame))
                if owed:
                    self._put_down(ident, place if ident in running else self._running.get(ident, place))
                if everyone:
                    self._wall[place] = self._wall.get(place, 0) + now - self._last_wall
                    self._present[place] = self._present.get(place, 0) + 1
        if everyone:
            self._last_wall = now
        if self._wants_cpu:
            self._keep_up(frames, now - self._last)
        self._last = now
        before, self._spent = self._spent, time.thread_time_ns()
        cost = self._spent - before
        return max(PERIOD * _CHANCE.uniform(0.8, 1.2), cost * _SHARE) / 1e9

    def cpu(self) -> bytes | None:
        """The profile of CPU time, or ``None`` where nobody has spent any."""
        encoder = Encoder((("samples", "count"), ("cpu", "nanoseconds")), ("cpu", "nanoseconds"), PERIOD)
        return self._encoded(encoder, self._cpu)

    def wall(self) -> bytes | None:
        """The profile of time that passed, and of the threads that were there at its last look."""
        kinds = (("threads", "count"), ("wall", "nanoseconds"))
        encoder = Encoder(kinds, ("wall", "nanoseconds"), PERIOD * WALL_LOOKS)
        found = {place: [self._present.get(place, 0), spent] for place, spent in self._wall.items()}
        return self._encoded(encoder, found)

    def close(self) -> None:
        """Leave the program as it was."""
        PROMPT.undo()

    def _movers(self) -> Collection[int]:
        """The threads that are running."""
        before = time.monotonic_ns()
        moved = self._moved()
        if moved and not PROMPT.is_set:
            # We were woken, and got the interpreter, when others gave it away: the next moment is ours to choose.
            PROMPT.set()
            self._pause(_CHANCE.random() * _SPREAD)
            before = time.monotonic_ns()
            for ident, spent in self._moved().items():
                moved[ident] = moved.get(ident, 0) + spent
        always = {ident for ident, spent in moved.items() if 10 * spent > 9 * (before - self._last)}
        movers = always if len(always) == len(moved) else self._proven()
        if len(moved) > 1:
            PROMPT.undo()  # what costs a single thread nothing has several wait for each other more often
        return movers

    def _proven(self) -> Collection[int]:
        """Of threads that ran for a part of the time those that do now: their clocks move while we wait."""
        movers: set[int] = set()
        for _ in range(_TRIES):
            before = time.monotonic_ns()
            self._pause(_MOMENT)
            waited = time.monotonic_ns() - before
            moved = self._moved()
            if 5 * sum(moved.values()) < 4 * waited:
                return ()  # who ran has stopped meanwhile
            movers = {ident for ident, spent in moved.items() if 2 * spent > waited}
            # Where we are late, the one that ran has perhaps let us in because it began to wait: then its clock
            # stands still the next time.
            if not movers or waited < _LATE * 1e9:
                break
        return movers

    def _moved(self) -> dict[int, int]:
        """By how much each clock has moved that has."""
        found = {}
        for ident, clock in list(self._clocks.items()):
            moved = clock.moved()
            if moved > 0:
                found[ident] = moved
            elif moved < 0:
                if (place := self._running.pop(ident, None)) and clock.owed:
                    self._put_down(ident, place)
                del self._clocks[ident]
                self._names.pop(ident, None)  # another may get its ident
        return found

    def _frames(self) -> dict[int, FrameType]:
        """Where each thread is."""
        frames = sys._current_frames()
        frames.pop(get_ident(), None)  # it would hold what holds it
        for ident in self._ignored:
            frames.pop(ident, None)
        return frames

    def _keep_up(self, frames: dict[int, FrameType], passed: int) -> None:
        """Note which threads have come, and which are not in Python any more."""
        if frames.keys() - self._clocks.keys():
            self._meet(_clocks(), passed)
        for ident in self._clocks.keys() - frames.keys():
            self._clocks[ident].owed = 0

    def _meet(self, clocks: dict[int, int], passed: int) -> None:
        for ident, number in clocks.items():
            if ident not in self._clocks and ident not in self._ignored and ident != get_ident():
                clock = _Clock(number)
                # A thread that is new has spent all of it since; one that comes to Python from C has not.
                if not 0 <= clock.moved() <= passed:
                    clock.owed = 0
                self._clocks[ident] = clock

    def _put_down(self, ident: int, place: Place) -> None:
        clock = self._clocks[ident]
        if clock.owed:
            seen = self._cpu.setdefault(place, [0, 0])
            seen[0] += 1
            seen[1] += clock.owed
            clock.owed = 0
            self._running[ident] = place

    def _name(self, ident: int) -> str:
        name = self._names.get(ident)
        if name is None:
            thread = threading._active.get(ident)  # type: ignore[attr-defined] # enumerate() would take a lock
            name = self._names[ident] = _MADE_UP.sub("", thread.name) if thread else ""
        return name

    def _stack(self, frame: FrameType | None) -> Stack:
        codes = self._codes
        stack: list[int] = []
        while frame is not None and len(stack) < 2 * _DEPTH:
            code = frame.f_code
            number = id(code)
            if number not in codes:
                codes[number] = (code, str(frame.f_globals.get("__name__", "")))
            stack += (number, frame.f_lasti)
            frame = frame.f_back
        return tuple(stack)

    def _encoded(self, encoder: Encoder, found: dict[Place, list[int]]) -> bytes | None:
        locations: dict[tuple[int, int], int] = {}
        for (thread, stack), values in found.items():
            numbers = []
            for place in zip(stack[::2], stack[1::2], strict=True):
                if place not in locations:
                    locations[place] = encoder.location(_frame(*self._codes[place[0]], place[1]))
                numbers.append(locations[place])
            encoder.add(numbers, values, {"thread": thread} if thread else {})
        return encoder.encode(self.begun, self._last - self._begin) if found else None


def _clocks() -> dict[int, int]:
    """The CPU clock of each thread that runs Python, by its ident.

    A thread that has ended has none, and to ask for it may crash. So all of this happens in C, without a moment at
    which another thread could run, and end. A clock that is known is safe to read for ever.
    """
    idents, again = tee(chain.from_iterable(islice(iter(sys._current_frames, None), 1)))
    try:
        return dict(zip(idents, map(time.pthread_getcpuclockid, again), strict=False))
    except OSError:
        return {}


def _frame(code: CodeType, module: str, instruction: int) -> Frame:
    line = next((line for begin, end, line in code.co_lines() if begin <= instruction < end), None)
    name = f"{module}.{code.co_qualname}" if module else code.co_qualname
    return name, code.co_filename, code.co_firstlineno, line or code.co_firstlineno
