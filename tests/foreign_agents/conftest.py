"""A collector with API keys, for the agents of other systems."""

import json
from collections.abc import Iterator

import pytest

from profbucket.auth import generate_secret, hash_secret
from tests.foreign_agents.clients import KeyedCollector
from tests.support.serving import served


@pytest.fixture(scope="session")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyedCollector]:
    """A collector that accepts one key, over a new directory."""
    directory, secret = tmp_path_factory.mktemp("keyed"), generate_secret()
    keys = [{"name": "agents", "sha256": hash_secret(secret).hex(), "scopes": ["read", "write"]}]
    log = directory / "log"
    with served(f"file://{directory / 'profiles'}", log, PROFBUCKET_KEYS=json.dumps(keys)) as url:
        yield KeyedCollector(url, secret, log)
