"""Compaction beside a collector: again and again, whatever becomes of it, and over when the collector is."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from logging.handlers import QueueHandler
from pathlib import Path
from queue import SimpleQueue

import pytest

from profbucket.cli.background_compaction import COMPACT, Upkeep, upkeep
from profbucket.config import Config
from tests.support.go_tool import run
from tests.support.serving import TIMEOUT_SECONDS

OFTEN = 0.001  # seconds
SELDOM = 3600.0
ENVIRONMENT = {**os.environ, "STORAGE_URL": "file:///profiles"}

Said = SimpleQueue[logging.LogRecord]


@pytest.fixture
def said() -> Iterator[Said]:
    """What is logged, as it comes."""
    queue: Said = SimpleQueue()
    handler = QueueHandler(queue)
    logger = logging.getLogger("profbucket")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield queue
    logger.removeHandler(handler)
    logger.setLevel(level)


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def test_it_runs_now_and_again_and_says_what_was_done(said: Said) -> None:
    script = 'echo compacted; echo "2 blocks in $STORAGE_URL" >&2'
    with Upkeep(OFTEN, ENVIRONMENT, shell(script)):
        records = [said.get(timeout=TIMEOUT_SECONDS) for _ in range(3)]
    assert {one.getMessage() for one in records} == {"compaction: 2 blocks in file:///profiles"}
    assert {one.levelname for one in records} == {"INFO"}


def test_what_a_run_could_not_do_is_an_error_although_it_did_the_rest(said: Said) -> None:
    with Upkeep(SELDOM, ENVIRONMENT, shell("echo united; echo blocks stay apart >&2; echo 1 block >&2")):
        records = [said.get(timeout=TIMEOUT_SECONDS) for _ in range(2)]
    assert [(one.levelname, one.getMessage()) for one in records] == [
        ("ERROR", "compaction: blocks stay apart"),
        ("INFO", "compaction: 1 block"),
    ]


def test_where_there_was_nothing_to_do_only_who_debugs_hears_of_it(said: Said) -> None:
    with Upkeep(SELDOM, ENVIRONMENT, shell("echo 0 blocks >&2")):
        record = said.get(timeout=TIMEOUT_SECONDS)
    assert (record.getMessage(), record.levelname) == ("compaction: 0 blocks", "DEBUG")
    assert said.empty()


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (shell('echo Traceback >&2; echo "profbucket: the disk is full" >&2; exit 1'), "failed: the disk is full"),
        (shell("kill -9 $$"), "failed: it ended with code -9"),
        (["/nowhere"], "cannot be started: No such file or directory"),
    ],
)
def test_a_failure_is_one_sentence_and_it_is_tried_again(command: list[str], sentence: str, said: Said) -> None:
    with Upkeep(OFTEN, ENVIRONMENT, command):
        records = [said.get(timeout=TIMEOUT_SECONDS) for _ in range(2)]
    assert {one.getMessage() for one in records} == {f"compaction {sentence}"}
    assert {one.levelname for one in records} == {"ERROR"}
    assert not any(one.exc_info for one in records)


def test_one_that_is_under_way_is_ended_with_the_collector_and_that_is_no_failure(
    said: Said, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    program = f"""
import signal
signals = {{signal.SIGTERM, signal.SIGALRM}}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
signal.alarm(30)  # nobody is to wait for it for ever
with open({str(fifo)!r}, "w") as out:
    print("begun", file=out, flush=True)
    print(signal.sigwait(signals).name, file=out)
raise SystemExit(1)
"""
    with Upkeep(SELDOM, ENVIRONMENT, [sys.executable, "-c", program]):
        lines = fifo.open()
        assert lines.readline() == "begun\n"
    assert lines.read() == "SIGTERM\n"
    lines.close()
    assert said.empty()


def test_what_runs_is_the_command_compact(tmp_path: Path) -> None:
    done = run(*COMPACT, environment={**os.environ, "STORAGE_URL": tmp_path.as_uri()}).check()
    assert done.text == ""
    assert done.stderr == "0 blocks made of profiles, 0 made of blocks, 0 objects deleted\n"


@pytest.mark.parametrize(
    ("storage", "every", "kept"),
    [("file:///profiles", "", True), ("file:///profiles", "60", True), ("file:///profiles", "0", False)]
    + [(url, "", False) for url in ("memory:", "gs://bucket", "s3://bucket?index=sqlite:///file")],
)
def test_a_directory_is_kept_and_no_other_storage_and_not_where_the_setting_is_0(
    storage: str, every: str, kept: bool
) -> None:
    config = Config.from_env({"STORAGE_URL": storage, "PROFBUCKET_BLOCK_EVERY": every})
    assert isinstance(upkeep(config, {}), Upkeep if kept else nullcontext)
