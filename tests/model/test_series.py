"""The sample types of a series, of which an index keeps a limited number."""

import json

import pytest

from profbucket.model.meta import SampleType, Total
from profbucket.model.series import (
    MAX_NAME_CHARACTERS,
    MAX_SAMPLE_TYPES,
    Series,
    SeriesGroup,
    group_series,
    limit_sample_types,
    sample_types_from_json,
    sample_types_to_json,
)
from tests.support.storage.examples import NOW, make_meta

FEW = [SampleType(f"type-{number}", "count") for number in range(3)]
MANY = [SampleType(f"type-{number}", "count") for number in range(2 * MAX_SAMPLE_TYPES)]
LONG = [SampleType(f"{number}" + "n" * 2000, "ü" * 100) for number in range(20)]


@pytest.mark.parametrize(
    ("sample_types", "count"),
    [(FEW, 3), (FEW * 200, 3), (MANY, MAX_SAMPLE_TYPES), (LONG, MAX_NAME_CHARACTERS // 2101), ([], 0)],
    ids=["few", "repeated", "many", "long", "none"],
)
def test_sample_types_are_limited(sample_types: list[SampleType], count: int) -> None:
    kept, has_more = limit_sample_types(sample_types)
    assert kept == tuple(dict.fromkeys(sample_types))[:count]
    assert has_more is (set(kept) < set(sample_types))


@pytest.mark.parametrize("sample_types", [FEW, MANY, LONG, []], ids=["few", "many", "long", "none"])
def test_a_series_with_more_sample_types_says_so(sample_types: list[SampleType]) -> None:
    parts = [Series.of(make_meta(totals=[Total(item.type, item.unit, 1)])) for item in sample_types]
    series = Series.of(make_meta())
    for part in parts:
        series = series.union(part)
    kept, has_more = limit_sample_types(sample_types)
    assert (series.sample_types, series.has_more_types) == (kept, has_more)
    for other in (series, parts[0] if parts else series, Series.of(make_meta())):
        assert series.union(other) == series
        assert other.union(series).has_more_types is has_more
    names = [item[:2] for item in sample_types]
    assert series.may_have_sample_types(names)
    assert series.may_have_sample_types([("other", "count")]) is has_more


@pytest.mark.parametrize("sample_types", [FEW, MANY, LONG, []], ids=["few", "many", "long", "none"])
def test_sample_types_come_back_from_json(sample_types: list[SampleType]) -> None:
    """A text of an earlier version, which had no limit, is read within the limit."""
    expected = limit_sample_types(sample_types)
    assert sample_types_from_json(json.loads(json.dumps(sample_types))) == expected
    series = Series.of(make_meta())._replace(sample_types=expected[0], has_more_types=expected[1])
    text = json.dumps(sample_types_to_json(series))
    assert sample_types_from_json(json.loads(text)) == expected
    assert len(text) < 100_000


def test_groups_have_the_times_of_all_their_series() -> None:
    cpu, heap = [Total("cpu", "nanoseconds", 1)], [Total("inuse", "bytes", 1)]
    metas = [make_meta(NOW + step, labels=f"v={step}", totals=cpu if step < 3 else heap) for step in range(5)]
    groups = group_series(map(Series.of, metas))
    assert groups == [
        SeriesGroup("api", metas[0].type, metas[0].sample_types, NOW, NOW + 2),
        SeriesGroup("api", metas[0].type, metas[4].sample_types, NOW + 3, NOW + 4),
    ]
