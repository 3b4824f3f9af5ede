"""Collectors for the agents of other systems: one with API keys, and one for agents that can send no key."""

import json
from collections.abc import Iterator

import pytest

from profbucket.api.app import create_app
from profbucket.auth import ApiKeys, generate_secret, hash_secret
from profbucket.config import Config
from profbucket.ingest.collector import Collector
from profbucket.query.querier import Querier
from profbucket.storage.open import open_storage
from tests.foreign_agents.clients import KeyedCollector
from tests.foreign_agents.refusals import Refusals
from tests.support.raw_http import running_server


@pytest.fixture(scope="session")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyedCollector]:
    """A collector that accepts one key, over a new directory, and asks Cloud Profiler's agents often."""
    secret = generate_secret()
    keys = [{"name": "agents", "sha256": hash_secret(secret).hex(), "scopes": ["read", "write"]}]
    config = Config("memory:", keys=ApiKeys.parse(json.dumps(keys)), cloud_profiler_seconds=5)
    yield from run_collector(tmp_path_factory.mktemp("keyed").as_uri(), config, secret)


@pytest.fixture(scope="session")
def open_collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyedCollector]:
    """A collector without keys, which serves this machine, for agents that can send no key."""
    yield from run_collector(tmp_path_factory.mktemp("open").as_uri(), Config("memory:"), "")


def run_collector(directory_url: str, config: Config, secret: str) -> Iterator[KeyedCollector]:
    """Yield a collector over the directory that refuses the first upload of each profile, if the agent retries."""
    storage = open_storage(f"{directory_url}/profiles")
    app = create_app(config, collector=Collector(storage), querier=Querier(storage))
    refusals = Refusals(app.wsgi_app)
    app.wsgi_app = refusals  # type: ignore[method-assign]
    with running_server(app) as server:
        yield KeyedCollector(f"http://127.0.0.1:{server.port}", secret, storage, refusals)
