"""Fixtures that more than one room needs."""

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.emulators import firestore_emulator, gcs_emulator, s3_emulator
from tests.support.exclusive import turn
from tests.support.go_tool import Go, GoPprof, build_shop, find_go
from tests.support.serving import served

# The suites are not test modules themselves; this shows their assertions as if they were.
for suite in ("bucket_suite", "index_suite", "storage_suite", "repair_suite", "compaction_suite"):
    pytest.register_assert_rewrite(f"tests.support.storage.{suite}")

# Machines are shared: how long an example takes says nothing.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First those that run alone: later, one process would wait for what the others have begun."""
    items.sort(key=lambda item: item.get_closest_marker("alone") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    with turn(item.get_closest_marker("alone") is not None):
        return (yield)


@pytest.fixture(scope="session")
def go() -> Go:
    """The go command, kept away from the network."""
    return find_go()


@pytest.fixture(scope="session")
def go_pprof(go: Go, tmp_path_factory: pytest.TempPathFactory) -> GoPprof:
    """Call it with the arguments of ``go tool pprof``; it returns what the tool wrote and its exit code."""
    return GoPprof(go, tmp_path_factory.mktemp("pprof"))


@pytest.fixture(scope="session")
def shop(go: Go, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The binary of tests/programs/shop."""
    return build_shop(go, tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a collector over a fresh directory. All tests share it: each uses services of its own."""
    directory = tmp_path_factory.mktemp("collector")
    with served(f"file://{directory / 'profiles'}", directory / "log") as url:
        yield url


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an emulator of Cloud Storage, and the environment. Each test has its own bucket."""
    with gcs_emulator(tmp_path_factory.mktemp("gcs") / "log") as url, pytest.MonkeyPatch.context() as environment:
        environment.setenv("STORAGE_EMULATOR_HOST", url)
        yield url


@pytest.fixture(scope="session")
def firestore(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an emulator of Firestore, and the environment. Each test has its own project."""
    log = tmp_path_factory.mktemp("firestore") / "log"
    with firestore_emulator(log) as host, pytest.MonkeyPatch.context() as environment:
        environment.setenv("FIRESTORE_EMULATOR_HOST", host)
        yield host


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an emulator of S3, and credentials that it takes. Each test has its own bucket."""
    with s3_emulator(tmp_path_factory.mktemp("s3") / "log") as url, pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "testing")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield url
