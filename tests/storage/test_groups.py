"""Group commit: which calls are committed together, and whose error is whose."""

import multiprocessing
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from profbucket.errors import Unavailable
from storage_local.groups import GroupCommit

Groups = GroupCommit[str, int, int]


def test_a_lone_call_is_committed_at_once_and_leaves_nothing() -> None:
    groups = Groups()
    assert groups.call("a", 1, lambda key, items: [10 * item for item in items]) == 10
    assert groups._waiting == {}


def test_calls_that_arrive_during_a_commit_are_committed_together() -> None:
    groups, committed = Groups(), list[Sequence[int]]()

    def commit(key: str, items: Sequence[int]) -> list[int]:
        committed.append(items)
        while len(committed) == 1 and len(groups._waiting[key]) < 8:
            time.sleep(0.001)
        return [10 * item for item in items]

    with ThreadPoolExecutor(9) as threads:
        results = list(threads.map(lambda item: groups.call("a", item, commit), range(9)))
    assert results == [10 * item for item in range(9)]
    assert list(map(len, committed)) == [1, 8]
    assert groups._waiting == {}


def test_keys_are_committed_independently() -> None:
    groups, both = Groups(), threading.Barrier(2)

    def commit(key: str, items: Sequence[int]) -> list[int]:
        both.wait(60)
        return [0] * len(items)

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda key: groups.call(key, 1, commit), "ab")) == [0, 0]


def test_the_error_of_one_item_is_not_that_of_others() -> None:
    groups, committed = Groups(), list[Sequence[int]]()

    def commit(key: str, items: Sequence[int]) -> list[int]:
        committed.append(items)
        while len(committed) == 1 and len(groups._waiting[key]) < 3:
            time.sleep(0.001)
        if 2 in items:
            raise ValueError(f"of {len(items)}")
        return [10 * item for item in items]

    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(groups.call, "a", item, commit) for item in range(4)]
        assert [calls[item].result() for item in (0, 1, 3)] == [0, 10, 30]
        with pytest.raises(ValueError, match="of 1"):
            calls[2].result()
    assert groups._waiting == {}


def test_a_timeout_of_a_group_is_not_repeated_for_each_item() -> None:
    groups, committed = Groups(), list[Sequence[int]]()

    def commit(key: str, items: Sequence[int]) -> list[int]:
        committed.append(items)
        while len(committed) == 1 and len(groups._waiting[key]) < 8:
            time.sleep(0.001)
        raise Unavailable("the storage timed out")

    with ThreadPoolExecutor(9) as threads:
        calls = [threads.submit(groups.call, "a", item, commit) for item in range(9)]
        assert all(isinstance(call.exception(), Unavailable) for call in calls)
    assert list(map(len, committed)) == [1, 8]
    assert groups._waiting == {}


def test_an_interrupted_commit_does_not_block_the_calls_that_wait() -> None:
    groups, committed = Groups(), list[Sequence[int]]()

    def commit(key: str, items: Sequence[int]) -> list[int]:
        committed.append(items)
        if len(committed) == 1:
            while len(groups._waiting[key]) < 2:
                time.sleep(0.001)
            raise KeyboardInterrupt
        return [10 * item for item in items]

    def call(item: int) -> object:
        try:
            return groups.call("a", item, commit)
        except KeyboardInterrupt as error:
            return error

    with ThreadPoolExecutor(3) as threads:
        results = list(threads.map(call, range(3)))
    assert sum(isinstance(result, KeyboardInterrupt) for result in results) == 1
    assert sum(isinstance(result, int) for result in results) == 2


def test_a_child_that_is_forked_during_a_commit_does_not_wait_for_it() -> None:
    groups, is_committing, has_forked = Groups(), threading.Event(), threading.Event()

    def commit(key: str, items: Sequence[int]) -> list[int]:
        is_committing.set()
        has_forked.wait(60)
        return list(items)

    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(groups.call, "a", 1, commit)
        assert is_committing.wait(60)
        child = multiprocessing.get_context("fork").Process(
            target=groups.call, args=("a", 2, lambda _, items: list(items)), daemon=True
        )
        child.start()
        has_forked.set()
        child.join(10)
        exit_code = child.exitcode
        child.kill()
        assert (exit_code, call.result()) == (0, 1)
