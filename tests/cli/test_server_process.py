"""The process that serves the API, with the settings of its environment."""

import socket
from pathlib import Path
from typing import Any

import pytest

from profbucket.cli import server_process
from profbucket.storage.open import open_storage
from profbucket.times import LATEST
from tests.support.api import NOW, pprof


def test_a_post_is_due_for_compaction_when_the_settings_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that compacts reads the same settings."""
    url, apps = f"file://{tmp_path}/storage", list[Any]()
    monkeypatch.setenv("STORAGE_URL", url)
    monkeypatch.setenv("PROFBUCKET_BLOCK_SHORT", "43200")
    monkeypatch.setattr(server_process, "Server", _no_server(apps))
    monkeypatch.setattr("profbucket.telemetry.logs.configure", lambda *arguments: None)
    with socket.socket() as listener:
        assert server_process.main(listener) == 0
    response = (
        apps[0]
        .test_client()
        .post("/api/0/profiles", query_string={"service": "api", "type": "cpu"}, data=pprof(at=NOW))
    )
    assert response.status_code == 200, response.text
    [task] = [task for task in open_storage(url).index.due_tasks(LATEST, 10) if task.service]
    assert task.period == 43200


def _no_server(apps: list[Any]) -> type:
    """Return a server that appends its application to *apps* and ends at once."""

    class NoServer:
        def __init__(self, app: Any, settings: Any) -> None:
            apps.append(app)

        def run(self, listener: socket.socket) -> None:
            pass

    return NoServer
