"""Fixtures that run terraform: a deployment to change, and one that is applied once."""

from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.support.terraform.terraform import (
    DATA,
    State,
    Terraform,
    copy_deployed,
    find_terraform,
    registry_environment,
    stub_environment,
)

# Variables with which samples are written, and read with SQL.
SAMPLES = {"samples_days": 400, "sql": True, "readers": ["group:developers@example.com"]}


@pytest.fixture(scope="session")
def stub() -> Iterator[Mapping[str, str]]:
    """Yield an environment in which terraform uses the stub in place of its providers."""
    find_terraform()
    with stub_environment() as environment:
        yield environment


@pytest.fixture(scope="session")
def terraform(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """Return the command, with the real providers if their registry can be reached, else with the stub."""
    root = tmp_path_factory.mktemp("terraform")
    # The tests make dozens of plans, and a plan contains all files of the archive: copy few.
    copy_deployed(root, DATA)
    real = Terraform(find_terraform(), root, registry_environment())
    if real("init", "-backend=false", "-input=false").returncode == 0:
        return real
    return Terraform(real.path, root, request.getfixturevalue("stub"))


@pytest.fixture
def deployment(stub: Mapping[str, str], tmp_path: Path) -> Terraform:
    """Return the command with the stub, on a copy of the repository that the test may change."""
    copy_deployed(tmp_path, DATA)
    return Terraform(find_terraform(), tmp_path, stub)


# Keys for the variable of that name: hashes of secrets that the tests know.
SECRETS = {"agents": "pb_agents", "people": "pb_people"}
KEYS: list[dict[str, Any]] = [
    {"name": "agents", "sha256": sha256(b"pb_agents").hexdigest(), "scopes": ["write"], "services": ["shop"]},
    {"name": "people", "sha256": sha256(b"pb_people").hexdigest(), "scopes": ["read"]},
]


@pytest.fixture(scope="session")
def applied(stub: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> State:
    """Return the state after an apply with the stub, of a deployment with access "public" and a dataset."""
    root = tmp_path_factory.mktemp("applied")
    copy_deployed(root, DATA)  # the whole archive would take ten times as long
    return Terraform(find_terraform(), root, stub).apply(access="public", keys=KEYS, **SAMPLES)
