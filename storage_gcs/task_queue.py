"""A queue of Cloud Tasks, by its REST API: the client library would add a dependency for one call."""

import base64
import json
import time
from collections.abc import MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from profbucket.errors import Misconfigured, StoragePermissionError
from profbucket.model.tasks import Task
from storage_gcs.http import Http, Refused

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
ORIGIN = "https://cloudtasks.googleapis.com"

_CONCURRENT_CALLS = 16  # a call takes 20 to 50 ms


class CloudTasksQueue:
    """The queue *name*, ``projects/…/locations/…/queues/…``, which posts each task to *url*.

    It authenticates as the service account *invoker*. A post may take *deadline_seconds*.
    """

    def __init__(self, name: str, url: str, invoker: str, deadline_seconds: int) -> None:
        self._name = name
        self._url = url
        self._invoker = invoker
        self._deadline_seconds = deadline_seconds

    def put(self, tasks: Sequence[Task]) -> int:
        if not tasks:
            return 0
        http = _open_http()
        with ThreadPoolExecutor(min(_CONCURRENT_CALLS, len(tasks)), "tasks") as threads:
            return sum(threads.map(lambda task: self._create(http, task), tasks))

    def _create(self, http: Http, task: Task) -> bool:
        """Create a task and return ``True``; return ``False`` if it has been created in this hour."""
        request = {
            "url": self._url,
            "httpMethod": "POST",
            "headers": {"Content-Type": "application/json"},
            "body": base64.b64encode(task.dump().encode()).decode(),
            "oidcToken": {"serviceAccountEmail": self._invoker, "audience": self._url},
        }
        body = {
            # Cloud Tasks refuses a name for an hour after its task was done, also if that failed for good.
            "name": f"{self._name}/tasks/{task.id}-{int(time.time()) // 3600}",
            "dispatchDeadline": f"{self._deadline_seconds}s",
            "httpRequest": request,
        }
        try:
            http.post(f"/v2/{self._name}/tasks", json.dumps({"task": body}).encode(), "application/json")
        except Refused as error:
            if error.status == 409:
                return False
            raise self._translate(error) from error
        return True

    def _translate(self, error: Refused) -> Exception:
        if error.status in (401, 403):
            return StoragePermissionError(
                "Cloud Tasks denies permission to create a task: grant roles/cloudtasks.enqueuer on"
                f" {self._name} and roles/iam.serviceAccountUser on {self._invoker}; it answered:"
                f" {error.text[:200]}"
            )
        return Misconfigured(
            f"PROFBUCKET_COMPACT_QUEUE={self._name!r}: Cloud Tasks cannot create a task: {error.status}:"
            f" {error.text[:200]}"
        )


def open_queue(name: str, url: str, invoker: str, deadline_seconds: int) -> CloudTasksQueue:
    """Open a queue, without I/O."""
    return CloudTasksQueue(name, url, invoker, deadline_seconds)


def _open_http() -> Http:
    import google.auth
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import Request

    try:
        credentials, _ = google.auth.default(scopes=[SCOPE])  # type: ignore[no-untyped-call,unused-ignore]
    except GoogleAuthError as error:
        raise Misconfigured(f"no Google credentials for Cloud Tasks: {error}") from error
    refresh_request = Request()

    def authorize(method: str, url: str, headers: MutableMapping[str, str]) -> None:
        credentials.before_request(  # type: ignore[no-untyped-call,unused-ignore]
            refresh_request, method, url, headers
        )

    return Http(ORIGIN, authorize, "Cloud Tasks")
