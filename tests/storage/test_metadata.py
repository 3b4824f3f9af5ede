"""An object's key and metadata say all that a meta says: the index can be rebuilt from the bucket alone."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.errors import Invalid
from profbucket.model.ids import ProfileId, profile_digest
from profbucket.model.labels import Labels
from profbucket.model.meta import Meta, Total
from profbucket.model.profile_type import ProfileType
from profbucket.storage.metadata import from_metadata, to_metadata
from profbucket.times import LATEST
from tests.support.storage.examples import TRICKY_TEXTS, make_meta

TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20) | st.sampled_from(TRICKY_TEXTS)
NAMES = TEXT.filter(bool)
LABELS = st.dictionaries(NAMES, TEXT, max_size=5).map(lambda labels: Labels.from_pairs(labels.items()))
TOTALS = st.lists(st.builds(Total, TEXT, TEXT, st.integers(-(2**70), 2**70)), max_size=4).map(tuple)


@st.composite
def metas(draw: st.DrawFn) -> Meta:
    service, kind, labels = draw(NAMES), draw(st.sampled_from(ProfileType)), draw(LABELS)
    created_at, size = draw(st.integers(0, LATEST)), draw(st.integers(0, 2**40))
    profile_id = ProfileId(service, kind, created_at, profile_digest(service, kind, labels, created_at, b""))
    return Meta(str(profile_id), service, kind, labels, created_at, size, draw(TOTALS))


@given(metas())
def test_a_meta_comes_back_from_its_key_and_metadata(one: Meta) -> None:
    assert from_metadata(ProfileId.parse(one.id).object_key, one.size, to_metadata(one)) == one


@given(metas())
def test_metadata_are_what_a_bucket_takes(one: Meta) -> None:
    """... ASCII without spaces, under small letters: what an HTTP header holds unchanged."""
    for name, value in to_metadata(one).items():
        assert re.fullmatch("[a-z]+", name)
        assert re.fullmatch("[!-~]*", value)


def test_metadata_are_written_as_people_write_labels() -> None:
    """The written form is that of objects that are stored already: it cannot change."""
    one = make_meta(
        labels="version=0.0.1,env=prod,city=K%C3%B6ln",
        totals=[Total("samples", "count", 12), Total("cpu", "nanoseconds", -120), Total("a:b", "c=d,e", 0)],
    )
    assert to_metadata(one) == {
        "labels": "city=K%C3%B6ln,env=prod,version=0.0.1",
        "totals": "samples:count=12,cpu:nanoseconds=-120,a%3Ab:c%3Dd%2Ce=0",
    }


def test_an_object_that_was_put_there_by_hand_has_no_labels_and_no_totals() -> None:
    found = from_metadata(ProfileId.parse(make_meta().id).object_key, 5, {})
    assert (found.labels, found.totals, found.size) == (Labels(), (), 5)


@pytest.mark.parametrize(
    "metadata",
    [
        {"labels": "no equals sign"},
        {"labels": "=x"},
        {"labels": "a=%FF"},
        {"totals": "cpu"},
        {"totals": "cpu:nanoseconds"},
        {"totals": "cpu:nanoseconds="},
        {"totals": "cpu:nanoseconds=many"},
        {"totals": "cpu:nanoseconds=1.5"},
        {"totals": "cpu:nanoseconds=" + "9" * 5000},
        {"totals": "cpu:nanoseconds=1,="},
    ],
)
def test_metadata_that_are_not_ours_are_invalid(metadata: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        from_metadata(ProfileId.parse(make_meta().id).object_key, 5, metadata)


@given(
    key=st.sampled_from([ProfileId.parse(make_meta().id).object_key, "api/cpu/x.pb.gz", "_/x", ""]) | st.text(),
    metadata=st.dictionaries(st.sampled_from(["labels", "totals", "other"]), st.text() | TEXT),
)
def test_whatever_an_object_says_of_itself_it_is_a_profile_or_invalid(key: str, metadata: dict[str, str]) -> None:
    try:
        found = from_metadata(key, 5, metadata)
    except Invalid:
        return
    assert ProfileId.parse(found.id).object_key == key
    assert from_metadata(key, 5, to_metadata(found)) == found
