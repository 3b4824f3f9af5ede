"""Keys of tables of samples: in the layout of Hive, unambiguous, and short enough for file systems."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.model.ids import escape_service, parse_samples_key, samples_key
from profbucket.model.profile_type import ProfileType
from profbucket.times import SECOND

MIDNIGHT = 1_795_392_000 * SECOND  # 2026-11-23T00:00:00Z
KEY = "_/samples/v1/date=2026-11-23/service=shop~2Fcart/type=cpu/samples.parquet"


def test_a_key_has_partitions() -> None:
    assert samples_key("shop/cart", ProfileType.CPU, MIDNIGHT + 5 * 3600 * SECOND) == KEY


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30), st.integers(0, 50_000))
def test_a_key_is_parsed(service: str, day: int) -> None:
    begin = day * 86_400 * SECOND
    assert parse_samples_key(samples_key(service, ProfileType.HEAP, begin)) == (service, "heap", begin)


@pytest.mark.parametrize(
    ("old", "new"),
    [("~2F", "/"), ("~2F", "~2f"), ("cpu", "CPU"), ("-11-", "-13-"), ("samples.p", "other.p"), ("v1", "v2")],
)
def test_other_keys_are_refused(old: str, new: str) -> None:
    with pytest.raises(ValueError, match=r"samples|service|type|time"):
        parse_samples_key(KEY.replace(old, new))


def test_segments_fit_a_file_system() -> None:
    key = samples_key(240 * "a", ProfileType.CPU, MIDNIGHT)
    assert max(map(len, key.split("/"))) == len(f"service={escape_service(240 * 'a')}") == 248
