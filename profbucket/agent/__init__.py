"""The agent for Python programs: it profiles the program it runs in and posts the profiles to a collector.

::

    from profbucket import agent

    agent.start("https://collector.example.com", "shop-api", labels={"version": "0.0.2"})

It imports only the standard library. After :func:`start` has returned, it raises no exception, uses no signal and
never blocks the program.
"""

import atexit
import logging
import os
import random
from collections.abc import Mapping

from profbucket.agent.heap import take_heap_profile
from profbucket.agent.native import Event, get_ident, monotonic, start_thread
from profbucket.agent.sampling import PERIOD_NANOS, SWITCH_INTERVAL, Sampler
from profbucket.agent.sending import Outbox
from profbucket.agent.settings import Settings

__all__ = ["start", "stop"]

_EXIT_TIMEOUT_SECONDS = 2.0  # the longest delay of the program's exit
_MIN_WAIT_SECONDS = 0.001  # so that no clock, however it jumps, makes a loop busy

_log = logging.getLogger(__name__)


def start(
    url: str,
    service: str,
    *,
    labels: Mapping[str, str] | None = None,
    key: str = "",
    every: float = 60.0,
    seconds: float = 10.0,
    cpu: bool = True,
    heap: bool = True,
    wall: bool = True,
) -> None:
    """Start profiling this program and the processes that it forks.

    Once in *every* seconds, at a random offset, the agent samples for *seconds*. ``cpu`` is CPU time per thread.
    ``heap`` is the memory in use, if tracemalloc is tracing. ``wall`` is the wall time
    of each stack, running or blocked, and the number of threads in it. *key* is the API key; the default is a
    password in *url*, or ``PROFBUCKET_KEY``.

    Raise ``Misconfigured`` or ``Invalid`` for invalid arguments. If the agent is running already, log a warning
    and change nothing.
    """
    start_with(
        Settings.create(url, service, labels, key, every=every, seconds=seconds, cpu=cpu, heap=heap, wall=wall)
    )


def start_with(settings: Settings) -> None:
    """Start the agent with validated settings; see :func:`start`."""
    if _Agent.running is not None:
        _log.warning("the agent is already running, for the service %s", _Agent.running.settings.service)
        return
    if not _Agent.registered:
        _Agent.registered = True
        os.register_at_fork(after_in_child=_restart_in_child)
        atexit.register(stop, _EXIT_TIMEOUT_SECONDS)
    _Agent.running = _Agent(settings)
    _Agent.running.start()


def stop(timeout: float = 5.0) -> None:
    """Stop the agent: end the current profile and send all that is queued, within *timeout* seconds."""
    running, _Agent.running = _Agent.running, None
    if running is not None:
        running.stop(timeout)


def _restart_in_child() -> None:
    """Start a new agent in a forked process, which has no threads. Its parent sends what is queued."""
    SWITCH_INTERVAL.restore()
    if _Agent.running is not None:
        _Agent.running = _Agent(_Agent.running.settings)
        _Agent.running.start()


class _Agent:
    """The two threads of the agent: one samples, one sends."""

    running: "_Agent | None" = None
    registered = False

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._outbox = Outbox(settings)
        self._stopping = Event()
        self._deadline = float("inf")
        self._idents: list[int] = []  # of the agent's threads, which are not sampled
        # Not the global generator: the program may have seeded it, and then all its processes would be in step.
        self._random = random.Random()  # noqa: S311 # not a secret

    def start(self) -> None:
        try:
            start_thread(self._run_outbox)
            start_thread(self._run_profiler)
        except RuntimeError as error:
            self._outbox.close(0.0)
            _log.warning("profiling is off: %s", error)

    def stop(self, timeout: float) -> None:
        self._deadline = monotonic() + timeout
        self._stopping.set()
        self._outbox.done.wait(timeout)

    def _run_outbox(self) -> None:
        self._idents.append(get_ident())
        try:
            self._outbox.run()
        except Exception:  # noqa: BLE001 # the program must not notice
            _log.exception("the agent stops: internal error")

    def _run_profiler(self) -> None:
        self._idents.append(get_ident())
        settings = self.settings
        try:
            due = monotonic()
            while not self._stopping.is_set:
                start = due + self._random.uniform(0, settings.every - settings.seconds)
                if self._stopping.wait(max(start - monotonic(), 10 * _MIN_WAIT_SECONDS)):
                    break
                self._take_profiles()
                due = max(due + settings.every, monotonic() - settings.seconds)
        except Exception:  # noqa: BLE001 # the program must not notice
            _log.exception("the agent stops: internal error")
        finally:
            self._outbox.close(self._deadline)

    def _take_profiles(self) -> None:
        settings = self.settings
        profiles: dict[str, bytes | None] = {}
        if settings.cpu or settings.wall:
            sampler = self._sample()
            if settings.cpu:
                profiles["cpu"] = sampler.cpu_profile()
            if settings.wall:
                profiles["wall"] = sampler.wall_profile()
        if settings.heap:
            profiles["heap"] = take_heap_profile()
        self._outbox.put({profile_type: data for profile_type, data in profiles.items() if data})

    def _sample(self) -> Sampler:
        """Sample for the length of a profile, or until the agent stops."""
        sampler = Sampler(self._idents, self._stopping.wait, cpu=self.settings.cpu, wall=self.settings.wall)
        now = due = monotonic()
        end = now + self.settings.seconds
        try:
            while not self._stopping.wait(max(min(due, end) - now, _MIN_WAIT_SECONDS)):
                if (now := monotonic()) >= end:
                    break
                due = max(due, now - PERIOD_NANOS / 1e9) + sampler.sample()
            sampler.sample(last=True)
        finally:
            sampler.close()
        return sampler
