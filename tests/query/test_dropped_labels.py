"""Labels of samples that merges and blocks leave out, because they tell each sample apart."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from profbucket.ingest.collector import Collector
from profbucket.limits import Limits
from profbucket.maintenance.compactor import Compactor
from profbucket.model.labels import Labels
from profbucket.model.merge_options import MergeOptions
from profbucket.model.meta import Meta, Query
from profbucket.query.querier import Querier
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from profbucket.times import LATEST, SECOND
from tests.support.api import Api
from tests.support.canonical import canonicalize
from tests.support.profiles import Label, Sample, encode, profile, stack
from tests.support.storage.compaction_suite import CPU, HOUR, MIDNIGHT

QUERY = Query("api", CPU, 0, LATEST)
RANGE = {"from": "0", "to": "2100-01-01T00:00:00"}
COMMENT = "; left out: the labels end_timestamp_ns, thread id of samples"


def make_profile(number: int, labels: Sequence[Callable[[int], Label]]) -> bytes:
    """Return a profile of one stack with ten samples that only *labels*, which get a number each, tell apart."""
    samples = [
        Sample(stack("work", "main"), (1, 100), tuple(label(number * 10 + i) for label in labels))
        for i in range(10)
    ]
    return encode(profile(*samples, time_nanos=MIDNIGHT + number * 60 * SECOND))


THREADS = (
    lambda i: Label(b"thread id", number=i + 1),
    lambda i: Label(b"end_timestamp_ns", number=MIDNIGHT + i),
    lambda i: Label(b"thread name", b"worker"),
)


@pytest.fixture
def storage() -> Storage:
    return Storage(MemoryBucket(), MemoryIndex())


def post(storage: Storage, count: int = 3) -> list[Meta]:
    collector = Collector(storage)
    return [collector.collect("api", CPU, Labels(), make_profile(number, THREADS)) for number in range(count)]


def merge(storage: Storage, limits: Limits = Limits(), **options: Any) -> tuple[list[Any], str]:
    """Return the samples of the merge of everything, as labels and values, and the first comment."""
    merged = canonicalize(Querier(storage, limits).merge(QUERY, MergeOptions(**options)).data)
    samples = [
        (sorted(label.key.decode() for label in labels), values) for (_, labels), values in merged.samples.items()
    ]
    return samples, merged.header.comments[0].decode()


def test_samples_that_only_such_labels_tell_apart_are_added_up(storage: Storage) -> None:
    post(storage)
    samples, comment = merge(storage)
    assert samples == [(["thread name"], (30, 3000))]
    assert comment.endswith(COMMENT)


def test_keep_labels_merges_with_all_labels(storage: Storage) -> None:
    post(storage)
    samples, comment = merge(storage, keep_labels=True)
    assert len(samples) == 30
    assert samples[0] == (["end_timestamp_ns", "thread id", "thread name"], (1, 100))
    assert "left out" not in comment


def test_a_setting_lists_the_labels(storage: Storage) -> None:
    post(storage)
    assert len(merge(storage, Limits(dropped_labels=()))[0]) == 30
    samples, comment = merge(storage, Limits(dropped_labels=("end_timestamp_ns", "thread id", "thread name")))
    assert samples == [([], (30, 3000))]
    assert comment.endswith("the labels end_timestamp_ns, thread id, thread name of samples")


def test_a_block_holds_no_such_labels_and_stored_profiles_keep_them(storage: Storage) -> None:
    metas = post(storage)
    expected = merge(storage)[0]
    kept = merge(storage, keep_labels=True)[0]
    list(Compactor(storage, clock=lambda: MIDNIGHT + 2 * HOUR).run())
    assert merge(storage)[0] == expected
    assert merge(storage, keep_labels=True)[0] == kept
    for obj in list(storage.bucket.list("api/", "api0")):
        storage.bucket.delete(obj.key)
    assert merge(storage)[0] == expected
    samples, comment = merge(storage, keep_labels=True)
    assert samples == expected
    assert "merged 3 profiles" in comment
    assert comment.endswith(", 3 from blocks, which do not keep all labels")
    assert metas[0].id


def test_a_merge_with_all_labels_is_within_the_limits_of_a_merge(storage: Storage) -> None:
    post(storage, 5)
    [(labels, values)] = merge(storage, replace(Limits(), merge=5))[0]
    assert (labels, values) == (["thread name"], (50, 5000))
    with pytest.raises(Exception, match="PROFBUCKET_MAX_MERGE") as caught:
        merge(storage, replace(Limits(), merge=4), keep_labels=True)
    assert getattr(caught.value, "code", "") == "max_merge_exceeded"


def test_merges_by_id_and_over_http_leave_them_out(storage: Storage) -> None:
    api = Api(storage)
    profiles = [make_profile(number, THREADS) for number in (0, 1)]
    ids = [api.posted(data) for data in profiles]
    for response, samples in (
        (api.merge(**RANGE), 1),
        (api.get(f"/api/0/profiles/{'+'.join(ids)}"), 1),
        (api.merge(**RANGE, keep_labels="1"), 20),
    ):
        assert len(canonicalize(response.data).samples) == samples
    assert api.get(f"/api/0/profiles/{ids[0]}").data == profiles[0]
