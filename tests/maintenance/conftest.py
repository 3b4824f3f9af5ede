"""Fixtures of the tests of maintenance."""

from collections.abc import Callable

import pytest


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A function that sets the time at which profiles arrive, in nanoseconds since 1970."""

    def set_time(now: int) -> None:
        monkeypatch.setattr("profbucket.storage.store.time.time_ns", lambda: now)

    return set_time
