"""Repeated posts of damaged profiles, in all interleavings with maintenance: what was acknowledged is stored."""

from collections.abc import Iterator

import pytest

from profbucket.maintenance.quarantine import quarantine
from profbucket.storage.store import Storage
from tests.support.storage.batch_suite import UPLOADS, contents, find, keys, store
from tests.support.storage.damage_suite import DAMAGES, overwrite
from tests.support.storage.examples import read_each
from tests.support.storage.histories import compaction, new_storage, replayable, run_fsck, run_reindex
from tests.support.storage.interleaving import Actor, Graph


@pytest.fixture(autouse=True, scope="module")
def _replayable() -> Iterator[None]:
    with replayable():
        yield


def run_quarantine(storage: Storage) -> None:
    list(quarantine(storage))


MAINTENANCE: dict[str, Actor] = {
    "reindex": run_reindex,
    "fsck": run_fsck,
    "compaction": compaction(5),
    "quarantine": run_quarantine,
}


@pytest.mark.parametrize("other", ["post", *MAINTENANCE])
@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("number", [1, 2], ids=["alone", "batch"])
def test_a_damaged_profile_that_is_posted_again_is_stored_whatever_else_happens(
    number: int, how: str, other: str
) -> None:
    uploads = UPLOADS[:number]

    def post(storage: Storage) -> None:
        store(storage, uploads)

    storage = new_storage()
    metas = store(storage, uploads)
    [key] = keys(storage)
    overwrite(storage, key, DAMAGES[how](storage.bucket.get(key)))
    for node in Graph(storage, [post, MAINTENANCE.get(other, post)]).explore():
        for process in node.processes:
            assert process.error is None, node.schedule
        reached = node.snapshot.storage
        assert key in keys(reached) or other == "quarantine", node.schedule
        if node.is_final:
            assert find(reached) == metas, node.schedule
            assert sorted(filter(None, read_each(reached, [meta.id for meta in metas]))) == contents(uploads)
