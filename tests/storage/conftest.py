"""An index in Firestore whose requests are counted."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from storage_gcs import FirestoreIndex
from tests.support.proxies import TrafficCounter, firestore_proxy
from tests.support.storage.unique_names import new_name


@dataclass
class CountedIndex:
    index: FirestoreIndex
    traffic: TrafficCounter
    project: str


@pytest.fixture
def counted(firestore: str) -> Iterator[CountedIndex]:
    """An index behind a proxy that counts requests."""
    traffic, project = TrafficCounter(), new_name()
    with firestore_proxy(firestore, traffic) as host, pytest.MonkeyPatch.context() as environment:
        environment.setenv("FIRESTORE_EMULATOR_HOST", host)
        yield CountedIndex(FirestoreIndex(project), traffic, project)
