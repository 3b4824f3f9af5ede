"""A twin of a port that counts the calls of the real one."""

from typing import Any

from profbucket.storage.store import Storage


class CountingPort:
    """A port that counts its calls by name."""

    def __init__(self, port: Any, calls: list[str]) -> None:
        self._port, self._calls = port, calls

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._port, name)
        if not callable(attribute):
            return attribute

        def call(*args: Any, **kwargs: Any) -> Any:
            self._calls.append(name)
            return attribute(*args, **kwargs)

        return call


def count_calls(storage: Storage) -> tuple[Storage, list[str]]:
    """Return *storage* with ports that count, and the list to which they append the name of each call."""
    calls: list[str] = []
    return Storage(CountingPort(storage.bucket, calls), CountingPort(storage.index, calls)), calls
