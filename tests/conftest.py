"""Fixtures for more than one package, and the order of the tests."""

from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.emulators import firestore_emulator, gcs_emulator, s3_emulator
from tests.support.exclusive import machine_lock
from tests.support.go_tool import Go, GoPprof, build_shop, find_go
from tests.support.property_tests import load_usual_settings
from tests.support.serving import served

# pytest explains failed assertions only in test modules, unless it is asked to.
for suite in ("bucket_suite", "index_suite", "storage_suite", "repair_suite", "compaction_suite"):
    pytest.register_assert_rewrite(f"tests.support.storage.{suite}")

load_usual_settings()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run tests marked ``alone`` first, so that no process has to wait for the others in the middle.

    Those marked ``long`` are next, so that no process has nothing to do while another ends one of them.
    """
    items.sort(key=lambda item: [item.get_closest_marker(name) is None for name in ("alone", "long")])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    with machine_lock(item.get_closest_marker("alone") is not None):
        return (yield)


@pytest.fixture(scope="session")
def go() -> Go:
    """The go command, without network access."""
    return find_go()


@pytest.fixture(scope="session")
def go_pprof(go: Go, tmp_path_factory: pytest.TempPathFactory) -> GoPprof:
    """``go tool pprof``: call it with arguments; it returns the output and the exit code."""
    return GoPprof(go, tmp_path_factory.mktemp("pprof"), go.find_tool("pprof"))


@pytest.fixture(scope="session")
def shop(go: Go, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The binary of tests/programs/shop."""
    return build_shop(go, tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a collector over a new directory. All tests share it, so each uses its own services."""
    directory = tmp_path_factory.mktemp("collector")
    with served(f"file://{directory / 'profiles'}", directory / "log") as url:
        yield url


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Cloud Storage emulator, which the environment points to. Each test makes its own bucket."""
    with gcs_emulator(tmp_path_factory.mktemp("gcs") / "log") as url, pytest.MonkeyPatch.context() as environment:
        environment.setenv("STORAGE_EMULATOR_HOST", url)
        yield url


@pytest.fixture(scope="session")
def firestore(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Firestore emulator, which the environment points to. Each test has its own project."""
    log = tmp_path_factory.mktemp("firestore") / "log"
    with firestore_emulator(log) as host, pytest.MonkeyPatch.context() as environment:
        environment.setenv("FIRESTORE_EMULATOR_HOST", host)
        yield host


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an S3 emulator; the environment has credentials. Each test makes its own bucket."""
    from botocore.session import create_loader

    with s3_emulator(tmp_path_factory.mktemp("s3") / "log") as url, pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "testing")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
        # Each test has a client of its own, which would parse megabytes of JSON: the descriptions of AWS.
        environment.setattr("botocore.session.create_loader", cache(create_loader))
        yield url
