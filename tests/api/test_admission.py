"""The memory limit for concurrent posts, and the lock for profiles that inflate to much more."""

import gzip
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from profbucket.api.admission import Admission
from profbucket.errors import Unavailable
from profbucket.ingest import collector as ingest
from profbucket.ingest.collector import Collector
from profbucket.limits import Limits
from profbucket.model.labels import Labels
from profbucket.model.profile_type import ProfileType
from profbucket.pprof import decode
from profbucket.pprof.codec import Profile
from profbucket.storage.open import open_storage
from tests.support.api import pprof


def test_posts_that_fit_are_admitted_together() -> None:
    admission = Admission(Limits(inflight_bytes=10))
    with admission.reserve(4), admission.reserve(6):
        assert (admission.reserved_bytes, admission.posts) == (10, 2)
    assert (admission.reserved_bytes, admission.posts) == (0, 0)


def test_a_post_that_does_not_fit_waits_for_room() -> None:
    admission = Admission(Limits(inflight_bytes=10, inflight_seconds=600))
    started, order = Event(), list[str]()

    def reserve_second() -> None:
        started.set()
        with admission.reserve(5):
            order.append("second")

    with ThreadPoolExecutor(1) as threads:
        with admission.reserve(6):
            waiting = threads.submit(reserve_second)
            started.wait()
            order.append("first")
        waiting.result()
    assert order == ["first", "second"]


def test_without_room_in_time_a_post_is_unavailable_and_the_error_names_both_limits() -> None:
    clock = iter([0, 11.0])
    admission = Admission(Limits(inflight_bytes=10, inflight_seconds=11), lambda: next(clock))
    admission.reserved_bytes = 6
    with pytest.raises(Unavailable) as caught, admission.reserve(5):
        pass
    assert caught.value.code == "too_many_posts_in_flight"
    assert "posts of 6 bytes are in flight" in str(caught.value)
    assert "10 bytes (PROFBUCKET_MAX_INFLIGHT_BYTES)" in str(caught.value)
    assert "11 seconds (PROFBUCKET_MAX_INFLIGHT_SECONDS)" in str(caught.value)
    assert (admission.reserved_bytes, admission.posts) == (6, 0)


def test_a_lone_post_is_admitted_whatever_its_size() -> None:
    with Admission(Limits(inflight_bytes=10)).reserve(11):
        pass


def test_a_failed_post_releases_its_bytes() -> None:
    admission = Admission(Limits(inflight_bytes=10))
    with pytest.raises(KeyError), admission.reserve(10):
        raise KeyError
    assert admission.reserved_bytes == 0


@pytest.mark.parametrize(
    ("data", "alone"),
    [
        (pprof(), False),
        (gzip.decompress(pprof()), False),
        (gzip.compress(gzip.decompress(pprof(name="f" * 70_000))), True),
        (gzip.decompress(pprof(name="f" * 70_000)), True),
    ],
    ids=["small", "small and raw", "small, and large once inflated", "large"],
)
def test_a_profile_that_inflates_to_much_more_is_checked_alone(
    monkeypatch: pytest.MonkeyPatch, data: bytes, alone: bool
) -> None:
    """A few kilobytes can inflate to hundreds of megabytes: one such profile fits in memory, a dozen do not."""
    seen = []

    def watched(data: bytes, limits: Limits) -> Profile:
        seen.append(ingest._LARGE_LOCK.locked())
        return decode(data, limits)

    monkeypatch.setattr(ingest, "decode", watched)
    Collector(open_storage("memory:")).collect("api", ProfileType.CPU, Labels(), data)
    assert seen == [alone]
    assert not ingest._LARGE_LOCK.locked()
