"""Tasks of compaction in Cloud Tasks, with a local server for its API and for the metadata server."""

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from profbucket.api.app import create_app
from profbucket.api.routes import Role
from profbucket.config import Config
from profbucket.errors import Misconfigured, Unavailable
from profbucket.maintenance.compactor import Compactor
from profbucket.storage.memory import MemoryBucket, MemoryIndex, MemoryQueue
from profbucket.storage.ports import ObjectRange
from profbucket.storage.store import Storage
from tests.support.google import QUEUE, Google
from tests.support.storage.compaction_suite import (
    HOUR,
    MIDNIGHT,
    assert_same_answers,
    copy_uncompacted,
    post_profiles,
)

INVOKER = "invoker@my-project.iam.gserviceaccount.com"
URL = "https://profbucket-compact.a.run.app/"

_PROGRAM = """
import sys
from profbucket.errors import ProfbucketError
from profbucket.model.tasks import Task
from profbucket.storage.open import open_queue
from storage_gcs import task_queue

task_queue.ORIGIN = sys.argv[1]
queue = open_queue(sys.argv[2], sys.argv[3], sys.argv[4], 540)
tasks = [Task.load(text) for text in sys.argv[6:]]
for _ in range(int(sys.argv[5])):
    try:
        print(queue.put(tasks))
    except ProfbucketError as error:
        print(error.code, error)
"""


def put(google: Google, home: Path, texts: list[str], times: int = 1, name: str = QUEUE) -> list[str]:
    """Return the lines that a program on an instance prints: a number of tasks, or an error, for each time."""
    return google.run_program(_PROGRAM, [name, URL, INVOKER, str(times), *texts], home)


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Storage:
    monkeypatch.setattr("profbucket.storage.store.time.time_ns", lambda: MIDNIGHT)  # no profile is late
    storage = Storage(MemoryBucket(), MemoryIndex())
    list(Compactor(storage, clock=lambda: MIDNIGHT).run_due())
    for service in ("api", "web"):
        post_profiles(storage, range(0, 120, 10), service=service)
    return storage


def test_every_task_is_created_once_and_does_its_part(storage: Storage, tmp_path: Path) -> None:
    uncompacted = copy_uncompacted(storage)
    now = MIDNIGHT + 3 * HOUR
    queue, google = MemoryQueue(), Google()
    Compactor(storage, clock=lambda: now).enqueue_due(queue)
    texts = [task.dump() for task in iter(queue.take, None)]
    counts = put(google, tmp_path, texts, times=2)
    assert counts[0] == "4"
    # Names contain the hour, because Cloud Tasks remembers them for an hour: the second put may be in the next.
    assert counts[1] in ("0", "4")
    app = create_app(Config("memory:"), Role.COMPACT, compactor=Compactor(storage, clock=lambda: now))
    answers = []
    for task in google.tasks.values():
        request = task["httpRequest"]
        assert (request["url"], request["httpMethod"]) == (URL, "POST")
        assert request["oidcToken"] == {"serviceAccountEmail": INVOKER, "audience": URL}
        assert task["dispatchDeadline"] == "540s"
        response = app.test_client().post("/", data=base64.b64decode(request["body"]), headers=request["headers"])
        assert response.status_code == 200
        answers.append(response.get_json()["body"]["compacted"])
    assert sum(answers) == 4
    assert_same_answers(storage, uncompacted)


@pytest.mark.parametrize(
    ("failures", "name", "error"),
    [
        ([403] * 9, QUEUE, "storage_permission_denied Cloud Tasks denies permission"),
        ([], QUEUE.replace("compact", "other"), "misconfigured PROFBUCKET_COMPACT_QUEUE="),
        ([400], QUEUE, "misconfigured PROFBUCKET_COMPACT_QUEUE="),
        ([503, 429], QUEUE, "1"),
    ],
)
def test_a_refusal_says_what_to_do_and_an_outage_is_retried(
    tmp_path: Path, failures: list[int], name: str, error: str
) -> None:
    [line] = put(Google(failures=failures), tmp_path, ['["api","cpu",3600,0,1]'], name=name)
    assert line.startswith(error)


def test_the_scheduled_call_hands_the_tasks_to_the_queue(storage: Storage) -> None:
    queue, urls = MemoryQueue(), []

    def open_queue(url: str) -> MemoryQueue:
        urls.append(url)
        return queue

    compactor = Compactor(storage, clock=lambda: MIDNIGHT + 3 * HOUR)
    config = Config("memory:", anonymous=True)
    app = create_app(config, Role.COMPACT, compactor=compactor, open_queue=open_queue)
    body = app.test_client().post("/", base_url=URL).get_json()["body"]
    assert (body["enqueued"], body["compacted"], body["oldest_head_seconds"]) == (4, 0, 0)
    assert urls == [URL]
    for task in iter(queue.take, None):
        response = app.test_client().post("/", data=task.dump())
        assert response.get_json()["body"]["compacted"] == 1
        assert app.test_client().post("/", data=task.dump()).get_json()["body"]["compacted"] == 0


def test_a_task_that_fails_is_posted_again_and_so_is_one_that_is_out_of_time(storage: Storage) -> None:
    queue = MemoryQueue()
    now = MIDNIGHT + 3 * HOUR
    Compactor(storage, clock=lambda: now).enqueue_due(queue)
    task = queue.take()
    assert task is not None

    class Unreachable(MemoryBucket):
        def get_many(self, ranges: Sequence[ObjectRange]) -> Iterator[bytes | None]:
            raise Unavailable("no answer")

    broken = Storage(Unreachable(), storage.index)
    app = create_app(Config("memory:"), Role.COMPACT, compactor=Compactor(broken, clock=lambda: now))
    response = app.test_client().post("/", data=task.dump())
    assert (response.status_code, response.get_json()["error_code"]) == (500, "compaction_failed")
    seconds = iter(range(0, 10**6, 1000))
    slow = Compactor(storage, clock=lambda: now, timer=lambda: next(seconds))
    app = create_app(Config("memory:"), Role.COMPACT, compactor=slow)
    response = app.test_client().post("/", data=task.dump())
    assert (response.status_code, response.get_json()["error_code"]) == (503, "compaction_incomplete")
    app = create_app(Config("memory:"), Role.COMPACT, compactor=Compactor(storage, clock=lambda: now))
    assert app.test_client().post("/", data=task.dump()).status_code == 200


@pytest.mark.parametrize("body", [b"x", b"[]", b'["a","cpu",1,2]', b"[" * 10_000])
def test_a_malformed_task_is_refused(storage: Storage, body: bytes) -> None:
    app = create_app(Config("memory:"), Role.COMPACT, compactor=Compactor(storage))
    response = app.test_client().post("/", data=body)
    assert (response.status_code, response.get_json()["error_code"]) == (400, "invalid_task")


@pytest.mark.parametrize(
    "name", ["compact", "projects/p/locations/l/queues/", "projects/p/locations/l/queues/a/b"]
)
def test_a_malformed_name_of_the_queue_is_refused(name: str) -> None:
    environ = {"STORAGE_URL": "memory:", "PROFBUCKET_COMPACT_QUEUE": name, "PROFBUCKET_COMPACT_INVOKER": INVOKER}
    with pytest.raises(Misconfigured, match="PROFBUCKET_COMPACT_QUEUE="):
        Config.from_env(environ)
    with pytest.raises(Misconfigured, match="PROFBUCKET_COMPACT_INVOKER is not set"):
        Config.from_env({"STORAGE_URL": "memory:", "PROFBUCKET_COMPACT_QUEUE": QUEUE})
    environ["PROFBUCKET_COMPACT_QUEUE"] = QUEUE
    assert Config.from_env(environ).compact_queue == QUEUE
