"""A collector with API keys, for the agents of other systems."""

import json
from collections.abc import Iterable, Iterator
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import pytest

from profbucket.api.app import create_app
from profbucket.auth import ApiKeys, generate_secret, hash_secret
from profbucket.config import Config
from profbucket.ingest.collector import Collector
from profbucket.query.querier import Querier
from profbucket.storage.open import open_storage
from tests.foreign_agents.clients import KeyedCollector
from tests.support.raw_http import running_server
from tests.support.serving import served


def refuse_first_upload(app: WSGIApplication) -> WSGIApplication:
    """Return *app* with a 503 for the first upload of each profile by Cloud Profiler's agent for Python."""
    refused = set()

    def refusing_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path, agent = environ["PATH_INFO"], environ.get("HTTP_USER_AGENT", "")
        if environ["REQUEST_METHOD"] == "PATCH" and "gcloud-python-profiler" in agent and path not in refused:
            refused.add(path)
            start_response("503 Service Unavailable", [("Content-Length", "0")])
            return []
        return app(environ, start_response)

    return refusing_app


@pytest.fixture(scope="session")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyedCollector]:
    """A collector that accepts one key, over a new directory, and asks Cloud Profiler's agents often."""
    secret = generate_secret()
    keys = [{"name": "agents", "sha256": hash_secret(secret).hex(), "scopes": ["read", "write"]}]
    config = Config("memory:", keys=ApiKeys.parse(json.dumps(keys)), cloud_profiler_seconds=5)
    storage = open_storage((tmp_path_factory.mktemp("keyed") / "profiles").as_uri())
    app = create_app(config, collector=Collector(storage), querier=Querier(storage))
    app.wsgi_app = refuse_first_upload(app.wsgi_app)  # type: ignore[method-assign,assignment]
    with running_server(app) as server:
        yield KeyedCollector(f"http://127.0.0.1:{server.port}", secret)


@pytest.fixture(scope="session")
def open_collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyedCollector]:
    """A collector without keys, which serves this machine, for agents that can send no key."""
    directory = tmp_path_factory.mktemp("open")
    with served(f"file://{directory / 'profiles'}", directory / "log") as url:
        yield KeyedCollector(url, "")
