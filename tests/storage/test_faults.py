"""Faults between collector and storage: accepted posts are stored once, failures are answered in time."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from profbucket.maintenance.findings import State
from profbucket.maintenance.repair import fsck, reindex
from profbucket.model.meta import Query
from profbucket.storage.open import open_storage
from tests.support.paths import ROOT
from tests.support.storage.examples import ALL_TIME, NOW, make_numbered_batch, make_numbered_profile
from tests.support.storage.faults import REQUEST_TIMEOUT_SECONDS, find_dangling, post_through_faults
from tests.support.storage.unique_names import new_gcs_bucket, new_name

POSTS = 400  # `make bench` posts 5,000


def test_every_accepted_post_is_found_once(gcs: str, firestore: str, tmp_path: Path) -> None:
    outcome = post_through_faults(gcs, firestore, tmp_path, POSTS)
    assert outcome.failures == []
    assert outcome.given_up == 0
    assert sorted(meta.id for meta in outcome.found) == sorted(outcome.accepted)
    assert len(set(outcome.accepted)) == POSTS
    assert sorted(meta.created_at - NOW for meta in outcome.found) == list(range(POSTS))
    assert find_dangling(outcome) == []
    assert outcome.slowest < REQUEST_TIMEOUT_SECONDS
    assert set(outcome.faults) == {"refused", "reset", "lost", "late"}


def test_every_profile_of_an_accepted_batch_is_found_once(gcs: str, firestore: str, tmp_path: Path) -> None:
    outcome = post_through_faults(gcs, firestore, tmp_path, POSTS // 2, batch=4)
    assert outcome.failures == []
    assert outcome.given_up == 0
    assert sorted(meta.id for meta in outcome.found) == sorted(set(outcome.accepted))
    assert sorted(meta.created_at - NOW for meta in outcome.found) == list(range(POSTS // 2))
    assert find_dangling(outcome) == []
    assert outcome.slowest < REQUEST_TIMEOUT_SECONDS
    assert {finding.state for finding in fsck(outcome.storage, deep=True)} == {State.OK}


KILLED = """
import os, signal, sys
from profbucket.storage.open import open_storage
from tests.support.storage.examples import make_numbered_profile

storage = open_storage(sys.argv[1])
for number in range(3):
    storage.write(*make_numbered_profile(number))
storage.index.add = lambda meta: os.kill(os.getpid(), signal.SIGKILL)
storage.write(*make_numbered_profile(3))
"""


@pytest.mark.parametrize("how", ["the same write", "reindex"])
def test_a_write_that_was_killed_between_object_and_entry_is_completed_by(
    gcs: str, firestore: str, how: str
) -> None:
    url = f"gs://{new_gcs_bucket(gcs)}?project={new_name()}"
    killed = subprocess.run([sys.executable, "-c", KILLED, url], cwd=ROOT, env=os.environ, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    storage = open_storage(url)
    query = Query("service-1", None, *ALL_TIME)
    meta, data = make_numbered_profile(3)
    assert meta not in list(storage.lookup.find(query))
    assert [finding.state for finding in fsck(storage)].count(State.MISSING_ENTRY) == 1
    if how == "reindex":
        list(reindex(storage))
    else:
        assert storage.write(meta, data) is True
    assert list(storage.lookup.find(query)) == [make_numbered_profile(1)[0], meta]
    assert {finding.state for finding in fsck(storage)} == {State.OK}


KILLED_BATCH = """
import os, signal, sys
from profbucket.storage.open import open_storage
from tests.support.storage.examples import make_numbered_batch

storage = open_storage(sys.argv[1])
storage.index.add_batch = lambda members: os.kill(os.getpid(), signal.SIGKILL)
storage.write_batch(make_numbered_batch(1))
"""


@pytest.mark.parametrize("how", ["the same batch", "single posts", "reindex"])
def test_a_batch_that_was_killed_between_object_and_entries_is_completed_by(
    gcs: str, firestore: str, how: str
) -> None:
    url = f"gs://{new_gcs_bucket(gcs)}?project={new_name()}"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_BATCH, url], cwd=ROOT, env=os.environ, check=False, timeout=60
    )
    assert killed.returncode == -signal.SIGKILL
    storage, batch = open_storage(url), make_numbered_batch(1)
    assert [finding.state for finding in fsck(storage)] == [State.MISSING_ENTRY] * len(batch)
    if how == "reindex":
        list(reindex(storage))
    elif how == "single posts":
        assert all(storage.write(*profile) for profile in batch)
    else:
        storage.write_batch(batch)
    assert list(storage.lookup.find(Query("service-1", None, *ALL_TIME))) == [meta for meta, _ in batch]
    assert {finding.state for finding in fsck(storage, deep=True)} == {State.OK}
