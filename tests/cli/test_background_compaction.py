"""Periodic compaction next to a collector: repeated after failures, and terminated with the collector."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from logging.handlers import QueueHandler
from pathlib import Path
from queue import SimpleQueue

import pytest

from profbucket.cli.background_compaction import COMPACT_COMMAND, BackgroundCompaction, background_compaction
from profbucket.config import Config
from profbucket.storage.open import open_storage
from tests.support.go_tool import run
from tests.support.serving import TIMEOUT_SECONDS

OFTEN_SECONDS = 0.001
SELDOM_SECONDS = 3600.0
ENVIRONMENT = {**os.environ, "STORAGE_URL": "file:///profiles"}

Records = SimpleQueue[logging.LogRecord]


@pytest.fixture
def records() -> Iterator[Records]:
    """The log records, as they come."""
    queue: Records = SimpleQueue()
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


def test_it_runs_at_once_and_again_and_logs_the_summary(records: Records) -> None:
    script = 'echo compacted; echo "2 blocks in $STORAGE_URL" >&2'
    with BackgroundCompaction(OFTEN_SECONDS, ENVIRONMENT, shell(script)):
        logged = [records.get(timeout=TIMEOUT_SECONDS) for _ in range(3)]
    assert {record.getMessage() for record in logged} == {"compaction: 2 blocks in file:///profiles"}
    assert {record.levelname for record in logged} == {"INFO"}


def test_a_problem_of_a_successful_run_is_logged_as_an_error(records: Records) -> None:
    script = "echo merged; echo blocks stay apart >&2; echo 1 block >&2"
    with BackgroundCompaction(SELDOM_SECONDS, ENVIRONMENT, shell(script)):
        logged = [records.get(timeout=TIMEOUT_SECONDS) for _ in range(2)]
    assert [(record.levelname, record.getMessage()) for record in logged] == [
        ("ERROR", "compaction: blocks stay apart"),
        ("INFO", "compaction: 1 block"),
    ]


def test_the_problems_of_a_partly_failed_run_are_logged(records: Records) -> None:
    script = "echo cannot compact api >&2; echo '1 block; 1 errors, see above' >&2; exit 1"
    with BackgroundCompaction(SELDOM_SECONDS, ENVIRONMENT, shell(script)):
        logged = [records.get(timeout=TIMEOUT_SECONDS) for _ in range(2)]
    assert [(record.levelname, record.getMessage()) for record in logged] == [
        ("ERROR", "compaction: cannot compact api"),
        ("ERROR", "compaction failed: 1 block; 1 errors, see above"),
    ]


def test_a_run_without_work_is_logged_at_debug_level(records: Records) -> None:
    with BackgroundCompaction(SELDOM_SECONDS, ENVIRONMENT, shell("echo 0 blocks >&2")):
        record = records.get(timeout=TIMEOUT_SECONDS)
    assert (record.getMessage(), record.levelname) == ("compaction: 0 blocks", "DEBUG")
    assert records.empty()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (shell('echo Traceback >&2; echo "profbucket: the disk is full" >&2; exit 1'), "failed: the disk is full"),
        (shell("kill -9 $$"), "failed: exited with code -9"),
        (["/nowhere"], "could not be started: No such file or directory"),
    ],
)
def test_a_failed_run_is_one_log_record_and_is_repeated(
    command: list[str], message: str, records: Records
) -> None:
    with BackgroundCompaction(OFTEN_SECONDS, ENVIRONMENT, command):
        logged = [records.get(timeout=TIMEOUT_SECONDS) for _ in range(2)]
    assert {record.getMessage() for record in logged} == {f"compaction {message}"}
    assert {record.levelname for record in logged} == {"ERROR"}
    assert not any(record.exc_info for record in logged)


def test_a_run_in_progress_is_terminated_with_the_collector_and_not_logged(
    records: Records, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    program = f"""
import signal
signals = {{signal.SIGTERM, signal.SIGALRM}}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
signal.alarm(30)  # so that the process never outlives a failed test
with open({str(fifo)!r}, "w") as out:
    print("started", file=out, flush=True)
    print(signal.sigwait(signals).name, file=out)
raise SystemExit(1)
"""
    with BackgroundCompaction(SELDOM_SECONDS, ENVIRONMENT, [sys.executable, "-c", program]):
        lines = fifo.open()
        assert lines.readline() == "started\n"
    assert lines.read() == "SIGTERM\n"
    lines.close()
    assert records.empty()


def test_the_command_is_compact(tmp_path: Path) -> None:
    open_storage(tmp_path.as_uri())  # as the collector does before it starts the command
    process = run(*COMPACT_COMMAND, environment={**os.environ, "STORAGE_URL": tmp_path.as_uri()}).check()
    assert process.text == ""
    assert process.stderr == "0 blocks made from profiles, 0 made from blocks, 0 objects deleted\n"


@pytest.mark.parametrize(
    ("storage", "interval", "compacted"),
    [
        (url, interval, interval != "0")
        for url in ("file:///profiles", "gs://bucket", "s3://bucket?index=sqlite:///file")
        for interval in ("", "60", "0")
    ]
    + [("memory:", "", False)],  # of this process
)
def test_every_storage_is_compacted_unless_the_interval_is_0(storage: str, interval: str, compacted: bool) -> None:
    config = Config.from_env({"STORAGE_URL": storage, "PROFBUCKET_BLOCK_EVERY": interval})
    context = background_compaction(config, {})
    assert isinstance(context, BackgroundCompaction if compacted else nullcontext)
