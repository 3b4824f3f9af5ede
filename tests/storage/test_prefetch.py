"""Reading ahead: in order, bounded in count and bytes, and over at the first error."""

import threading
from collections.abc import Callable
from itertools import islice

import pytest

from profbucket.storage.prefetch import prefetch

PATIENCE = 30.0  # seconds; reached only where a claim is broken


def test_what_is_fetched_out_of_order_comes_in_order() -> None:
    """The first waits until the last of those that are fetched beside it is there."""
    last = threading.Event()

    def fetch(key: str, admit: Callable[[int], None]) -> bytes | None:
        admit(1)
        if key == "0":
            assert last.wait(PATIENCE)
        if key == "3":
            last.set()
        return None if key == "2" else key.encode()

    assert list(prefetch(fetch, list("01234"), workers=4)) == [b"0", b"1", None, b"3", b"4"]


def test_no_more_bytes_are_held_than_allowed() -> None:
    held, most, lock = 0, 0, threading.Lock()

    def fetch(key: str, admit: Callable[[int], None]) -> bytes:
        nonlocal held, most
        admit(40)
        with lock:
            held += 40
            most = max(most, held)
        return key.encode()

    keys = [f"{number}" for number in range(100)]
    for key, data in zip(keys, prefetch(fetch, keys, workers=8, max_bytes=100), strict=True):
        assert data == key.encode()
        with lock:
            held -= 40
    assert 40 <= most <= 120  # two at a time; one more between its being taken and our counting it


def test_an_object_larger_than_the_bound_comes_alone() -> None:
    def fetch(key: str, admit: Callable[[int], None]) -> bytes:
        admit(1000)
        return key.encode()

    assert list(prefetch(fetch, list("abcdef"), workers=3, max_bytes=10)) == [b"a", b"b", b"c", b"d", b"e", b"f"]


def test_no_more_are_fetched_ahead_than_allowed() -> None:
    fetched: list[str] = []

    def fetch(key: str, admit: Callable[[int], None]) -> bytes:
        admit(0)
        fetched.append(key)
        return b""

    under_way = prefetch(fetch, [f"{number}" for number in range(1000)], workers=4)
    next(under_way)
    assert len(fetched) <= 2 * 4
    under_way.close()  # type: ignore[attr-defined]


def test_the_first_error_is_raised_in_its_place_and_cancels_the_rest() -> None:
    fetched: list[str] = []

    def fetch(key: str, admit: Callable[[int], None]) -> bytes:
        admit(1)
        fetched.append(key)
        if key == "5":
            raise LookupError(key)
        return key.encode()

    under_way = prefetch(fetch, [f"{number}" for number in range(500)], workers=2)
    assert list(islice(under_way, 5)) == [b"0", b"1", b"2", b"3", b"4"]
    with pytest.raises(LookupError, match="5"):
        next(under_way)
    assert list(under_way) == []
    assert len(fetched) < 50


def test_who_waits_for_room_is_let_go_when_the_reader_leaves() -> None:
    waiting, gone = threading.Semaphore(0), threading.Semaphore(0)

    def fetch(key: str, admit: Callable[[int], None]) -> bytes:
        waiting.release()
        try:
            admit(100)
        finally:
            gone.release()
        return b""

    under_way = prefetch(fetch, list("abcd"), workers=4, max_bytes=100)
    next(under_way)
    for _ in range(4):
        assert waiting.acquire(timeout=PATIENCE)
    under_way.close()  # type: ignore[attr-defined]
    for _ in range(4):
        assert gone.acquire(timeout=PATIENCE)
