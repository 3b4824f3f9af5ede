"""An object's key, size and metadata hold its meta: the index can be rebuilt from the bucket alone."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.model.ids import ProfileId, profile_digest
from profbucket.model.labels import Labels
from profbucket.model.meta import Meta, Total
from profbucket.model.profile_type import COMMON_TYPES
from profbucket.model.sample_kinds import Kind
from profbucket.storage.damage import content_metadata
from profbucket.storage.metadata import from_metadata, has_totals, to_metadata
from profbucket.times import LATEST
from tests.support.storage.examples import TRICKY_TEXTS, make_meta

TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20) | st.sampled_from(TRICKY_TEXTS)
NAMES = TEXT.filter(bool)
LABELS = st.dictionaries(NAMES, TEXT, max_size=5).map(lambda labels: Labels.from_pairs(labels.items()))
TOTALS = st.lists(
    st.builds(Total, TEXT, TEXT, st.integers(-(2**70), 2**70), st.sampled_from([None, *Kind])), max_size=4
).map(tuple)


@st.composite
def metas(draw: st.DrawFn) -> Meta:
    service, profile_type, labels = draw(NAMES), draw(st.sampled_from(COMMON_TYPES)), draw(LABELS)
    created_at, size = draw(st.integers(0, LATEST)), draw(st.integers(0, 2**40))
    profile_id = ProfileId(
        service, profile_type, created_at, profile_digest(service, profile_type, labels, created_at, b"")
    )
    return Meta(str(profile_id), service, profile_type, labels, created_at, size, draw(TOTALS))


@given(metas())
def test_a_meta_is_restored_from_its_key_and_metadata(meta: Meta) -> None:
    assert from_metadata(ProfileId.parse(meta.id).object_key, meta.size, to_metadata(meta)) == meta


def make_wide_meta(name_bytes: int, label_bytes: int = 0) -> Meta:
    """Return a meta with as many sample types as the limits allow; their names have *name_bytes* together."""
    count = Limits().sample_types
    totals = [Total("ü" * (name_bytes // count // 2), "", -(2**63), Kind.SUM) for _ in range(count)]
    return make_meta(labels=f"v={'x' * label_bytes}" if label_bytes else "", totals=totals)


@pytest.mark.parametrize(
    ("name_bytes", "label_bytes", "is_complete"), [(0, 0, True), (0, 1190, False), (Limits().name_bytes, 0, False)]
)
def test_totals_that_do_not_fit_the_metadata_of_every_bucket_are_omitted(
    name_bytes: int, label_bytes: int, is_complete: bool
) -> None:
    meta = make_wide_meta(name_bytes, label_bytes)
    metadata = to_metadata(meta)
    stored = metadata | content_metadata(b"x" * 10**6)
    assert sum(len(name) + len(value) for name, value in stored.items()) <= 2048  # as S3 counts
    assert has_totals(metadata) is is_complete
    restored = from_metadata(ProfileId.parse(meta.id).object_key, meta.size, metadata)
    assert restored == (meta if is_complete else replace(meta, totals=()))


@given(metas())
def test_metadata_are_valid_for_every_bucket(meta: Meta) -> None:
    """ASCII without spaces, under lower-case names: an HTTP header does not change them."""
    for name, value in to_metadata(meta).items():
        assert re.fullmatch("[a-z]+", name)
        assert re.fullmatch("[!-~]*", value)


def test_the_format_of_metadata_is_stable() -> None:
    """Objects in this format are stored already."""
    meta = make_meta(
        labels="version=0.0.1,env=prod,city=K%C3%B6ln",
        totals=[Total("samples", "count", 12), Total("cpu", "nanoseconds", -120), Total("a:b", "c=d,e", 0)],
    )
    assert to_metadata(meta) == {
        "labels": "city=K%C3%B6ln,env=prod,version=0.0.1",
        "totals": "samples:count=12,cpu:nanoseconds=-120,a%3Ab:c%3Dd%2Ce=0",
    }


def test_kinds_that_the_agent_has_said_are_letters() -> None:
    meta = make_meta(
        totals=[Total("a", "b", 1, Kind.CUMULATIVE), Total("c", "d", 2), Total("e", "f", 3, Kind.SUM)]
    )
    assert to_metadata(meta) == {"labels": "", "totals": "a:b=1,c:d=2,e:f=3", "kinds": "c-s"}


def test_an_object_without_metadata_has_no_labels_and_no_totals() -> None:
    meta = from_metadata(ProfileId.parse(make_meta().id).object_key, 5, {})
    assert (meta.labels, meta.totals, meta.size) == (Labels(), (), 5)


@pytest.mark.parametrize(
    "metadata",
    [
        {"labels": "no equals sign"},
        {"labels": "=x"},
        {"labels": "a=%FF"},
        {"totals": "cpu"},
        {"totals": "omitted,"},
        {"totals": "cpu:nanoseconds"},
        {"totals": "cpu:nanoseconds="},
        {"totals": "cpu:nanoseconds=many"},
        {"totals": "cpu:nanoseconds=1.5"},
        {"totals": "cpu:nanoseconds=" + "9" * 5000},
        {"totals": "cpu:nanoseconds=1,="},
    ],
)
def test_malformed_metadata_are_invalid(metadata: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        from_metadata(ProfileId.parse(make_meta().id).object_key, 5, metadata)


@given(
    object_key=st.sampled_from([ProfileId.parse(make_meta().id).object_key, "api/cpu/x.pb.gz", "_/x", ""])
    | st.text(),
    metadata=st.dictionaries(st.sampled_from(["labels", "totals", "other"]), st.text() | TEXT),
)
def test_any_key_and_metadata_are_a_profile_or_invalid(object_key: str, metadata: dict[str, str]) -> None:
    try:
        meta = from_metadata(object_key, 5, metadata)
    except Invalid:
        return
    assert ProfileId.parse(meta.id).object_key == object_key
    assert from_metadata(object_key, 5, to_metadata(meta)) == meta
