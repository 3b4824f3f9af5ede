"""A collector with API keys, for the agents of other systems."""

import json
import logging
from collections.abc import Iterator

import pytest
from werkzeug.serving import make_server

from profbucket.api.app import create_app
from profbucket.auth import ApiKeys, generate_secret, hash_secret
from profbucket.config import Config
from profbucket.ingest.collector import Collector
from profbucket.query.querier import Querier
from profbucket.storage.open import open_storage
from tests.foreign_agents.clients import KeyedCollector
from tests.support.serving import free_port, running


@pytest.fixture(scope="session")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyedCollector]:
    """A collector that accepts one key, over a new directory, and asks Cloud Profiler's agents often."""
    secret = generate_secret()
    keys = [{"name": "agents", "sha256": hash_secret(secret).hex(), "scopes": ["read", "write"]}]
    config = Config("memory:", keys=ApiKeys.parse(json.dumps(keys)), cloud_profiler_seconds=5)
    storage = open_storage((tmp_path_factory.mktemp("keyed") / "profiles").as_uri())
    app = create_app(config, collector=Collector(storage), querier=Querier(storage))
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    with make_server("127.0.0.1", free_port(), app, threaded=True) as server, running(server):
        yield KeyedCollector(f"http://127.0.0.1:{server.port}", secret)
