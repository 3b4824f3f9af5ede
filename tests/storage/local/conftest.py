"""A bucket and an index in a directory that is empty."""

from pathlib import Path

import pytest

from storage_local import LocalBucket, LocalIndex


@pytest.fixture
def bucket(tmp_path: Path) -> LocalBucket:
    return LocalBucket(tmp_path / "storage")


@pytest.fixture
def index(tmp_path: Path) -> LocalIndex:
    return LocalIndex(tmp_path / "storage" / ".index.sqlite")
