"""Profile type ids: the names that Grafana knows, and the way back from an id to what is stored."""

import pytest

from profbucket.errors import Invalid
from profbucket.grafana.profile_type_ids import ProfileTypeId
from profbucket.model.profile_type import ProfileType

# Profile type, sample type and unit, and the id.
EXAMPLES = [
    ("cpu", "samples", "count", "process_cpu:samples:count:cpu:nanoseconds"),
    ("cpu", "cpu", "nanoseconds", "process_cpu:cpu:nanoseconds:cpu:nanoseconds"),
    ("heap", "alloc_objects", "count", "memory:alloc_objects:count:space:bytes"),
    ("heap", "alloc_space", "bytes", "memory:alloc_space:bytes:space:bytes"),
    ("heap", "inuse_objects", "count", "memory:inuse_objects:count:space:bytes"),
    ("heap", "inuse_space", "bytes", "memory:inuse_space:bytes:space:bytes"),
    ("block", "contentions", "count", "block:contentions:count:contentions:count"),
    ("block", "delay", "nanoseconds", "block:delay:nanoseconds:contentions:count"),
    ("mutex", "contentions", "count", "mutex:contentions:count:contentions:count"),
    ("mutex", "delay", "nanoseconds", "mutex:delay:nanoseconds:contentions:count"),
    ("goroutine", "goroutine", "count", "goroutine:goroutine:count:goroutine:count"),
    ("threadcreate", "threadcreate", "count", "threadcreate:threadcreate:count:threadcreate:count"),
    ("wall", "wall", "nanoseconds", "wall:wall:nanoseconds:wall:nanoseconds"),
    ("alloc", "alloc_space", "bytes", "alloc:alloc_space:bytes:space:bytes"),
    ("exceptions", "exception", "count", "exceptions:exception:count:exception:count"),
    ("other", "a:b", "", "other:a_b::a_b:"),
]


@pytest.mark.parametrize(("profile_type", "sample_type", "unit", "text"), EXAMPLES)
def test_ids(profile_type: str, sample_type: str, unit: str, text: str) -> None:
    type_id = ProfileTypeId.of(ProfileType(profile_type), sample_type, unit)
    assert str(type_id) == text
    assert ProfileTypeId.parse(text) == type_id
    assert ProfileTypeId.parse(f"{text}:delta") == type_id
    assert type_id.labels()["__profile_type__"] == text


def test_ids_are_distinct() -> None:
    assert len({text for *_, text in EXAMPLES}) == len(EXAMPLES)


def test_the_period_makes_no_difference() -> None:
    type_id = ProfileTypeId.parse("mutex:delay:nanoseconds:mutex:count")
    assert type_id.is_same(ProfileTypeId.of(ProfileType.MUTEX, "delay", "nanoseconds"))
    assert not type_id.is_same(ProfileTypeId.of(ProfileType.MUTEX, "contentions", "count"))
    assert not type_id.is_same(ProfileTypeId.of(ProfileType.BLOCK, "delay", "nanoseconds"))


def test_names_of_pushed_profiles() -> None:
    assert ProfileTypeId.parse("goroutines:goroutine:count:goroutine:count").may_mean(ProfileType.GOROUTINE)
    assert ProfileTypeId.parse("memory:alloc_space:bytes:space:bytes").may_mean(ProfileType.ALLOC)
    assert not ProfileTypeId.parse("memory:alloc_space:bytes:space:bytes").may_mean(ProfileType.CPU)


@pytest.mark.parametrize(
    "text", ["", "cpu", "a:b:c:d", "a:b:c:d:e:f", "a:b:c:d:e:delta:delta", ":b:c:d:e", "a::c:d:e"]
)
def test_malformed_ids(text: str) -> None:
    with pytest.raises(Invalid) as raised:
        ProfileTypeId.parse(text)
    assert raised.value.code == "invalid_profile_type"
