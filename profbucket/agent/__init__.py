"""The agent for Python programs: it profiles the program that it runs in, and posts the profiles to a collector.

::

    from profbucket import agent

    agent.start("https://collector.example.com", "shop-api", labels={"version": "0.0.2"})

Nothing but the standard library is imported, and nothing is once :func:`start` has returned that the program could
notice: no exception, no signal, no wait.
"""

import atexit
import logging
import os
import random
import time
from collections.abc import Mapping

from profbucket.agent.heap import heap as heap_profile
from profbucket.agent.native import Flag, get_ident, spawn
from profbucket.agent.sampling import PERIOD, PROMPT, Sampler
from profbucket.agent.sending import Outbox
from profbucket.agent.settings import Settings

__all__ = ["start", "stop"]

_AT_EXIT = 2.0  # seconds that a program which ends may take longer

_log = logging.getLogger("profbucket.agent")


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
    """Profile this program from now on, and the processes that it forks.

    Once in *every* seconds, at a moment that chance decides, it is looked at for that many *seconds*. ``cpu`` is
    CPU time, by thread; ``heap`` is what tracemalloc has recorded, while it traces; with *wall* there is a profile
    of type ``other``: the time that passed in each stack, waiting or not, and how many threads were in it at the
    end. *key* is what the collector asks for, else ``PROFBUCKET_KEY``; a password in *url* is one as well.

    Raise ``Misconfigured`` or ``Invalid`` for arguments that make no sense, and nothing ever after. Where the
    agent runs already, it goes on as it was started first.
    """
    settings = Settings.create(
        url, service, labels, key, every=every, seconds=seconds, cpu=cpu, heap=heap, wall=wall
    )
    start_with(settings)


def start_with(settings: Settings) -> None:
    """See :func:`start`."""
    if _Agent.running is not None:
        _log.warning("the agent runs already, for the service %s", _Agent.running.settings.service)
        return
    if not _Agent.registered:
        _Agent.registered = True
        os.register_at_fork(after_in_child=_forked)
        atexit.register(stop, _AT_EXIT)
    _Agent.running = _Agent(settings)
    _Agent.running.start()


def stop(timeout: float = 5.0) -> None:
    """End the profile that is being taken and send what is not sent yet, in *timeout* seconds at most."""
    running, _Agent.running = _Agent.running, None
    if running is not None:
        running.stop(timeout)


def _forked() -> None:
    """In a child there are no threads: it begins anew. What waits to be sent is its parent's to send."""
    PROMPT.undo()
    if _Agent.running is not None:
        _Agent.running = _Agent(_Agent.running.settings)
        _Agent.running.start()


class _Agent:
    """Two threads: one looks and one sends."""

    running: "_Agent | None" = None
    registered = False

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._outbox = Outbox(settings)
        self._ended = Flag()
        self._ends = float("inf")
        self._threads: list[int] = []
        self._chance = random.Random()  # noqa: S311 # of its own: the program's may be seeded, and then all are in step

    def start(self) -> None:
        try:
            spawn(self._send)
            spawn(self._look)
        except RuntimeError as error:
            self._outbox.close(0.0)
            _log.warning("there are no profiles: %s", error)

    def stop(self, timeout: float) -> None:
        self._ends = time.monotonic() + timeout
        self._ended.set()
        self._outbox.done.wait(timeout)

    def _send(self) -> None:
        self._threads.append(get_ident())
        try:
            self._outbox.run()
        except Exception:  # noqa: BLE001 # the program is not to notice
            _log.exception("there are no more profiles: an error of the agent")

    def _look(self) -> None:
        self._threads.append(get_ident())
        settings = self.settings
        try:
            due = time.monotonic()
            while not self._ended.is_set:
                begin = due + self._chance.uniform(0, settings.every - settings.seconds)
                if self._ended.wait(begin - time.monotonic()):
                    break
                self._profile()
                due = max(due + settings.every, time.monotonic() - settings.seconds)
        except Exception:  # noqa: BLE001 # the program is not to notice
            _log.exception("there are no more profiles: an error of the agent")
        finally:
            self._outbox.close(self._ends)

    def _profile(self) -> None:
        settings = self.settings
        if settings.cpu or settings.wall:
            sampler = self._sampled()
            if settings.cpu and (data := sampler.cpu()):
                self._outbox.put("cpu", data)
            if settings.wall and (data := sampler.wall()):
                self._outbox.put("other", data)
        if settings.heap and (data := heap_profile()):
            self._outbox.put("heap", data)

    def _sampled(self) -> Sampler:
        """What is seen in the time that a profile takes."""
        sampler = Sampler(self._threads, self._ended.wait, cpu=self.settings.cpu, wall=self.settings.wall)
        now = due = time.monotonic()
        end = now + self.settings.seconds
        try:
            while not self._ended.wait(min(due, end) - now):
                if (now := time.monotonic()) >= end:
                    break
                due = max(due, now - PERIOD / 1e9) + sampler.look()
            sampler.look(last=True)
        finally:
            sampler.close()
        return sampler
