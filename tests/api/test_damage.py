"""Responses about damaged profiles and blocks."""

import pytest

from profbucket.errors import Damaged
from profbucket.model.meta import Query
from profbucket.model.profile_type import ProfileType
from profbucket.query.querier import Querier
from profbucket.storage.open import open_storage
from profbucket.times import format_time
from tests.support.api import Api, body, comments, error, error_code
from tests.support.storage.compaction_suite import HOUR, MIDNIGHT, post_profiles
from tests.support.storage.damage_suite import block_keys, compacted, damage, damage_list, flip_bit

RANGE = {"service": "api", "from": "0", "to": format_time(MIDNIGHT + 24 * HOUR)}


@pytest.fixture
def api() -> Api:
    return Api(open_storage("memory:"))


def test_a_damaged_profile_is_counted_in_a_header(api: Api) -> None:
    metas = compacted(api.storage)
    response = api.get("/api/0/profiles/merge", type="cpu", **RANGE)
    assert "X-Profbucket-Damaged" not in response.headers
    damage(api.storage, metas[-1], flip_bit)
    merge = api.get("/api/0/profiles/merge", type="cpu", **RANGE)
    assert (merge.status_code, merge.headers["X-Profbucket-Damaged"]) == (200, "1")
    assert any("merged 8 of 9 profiles" in text and "1 left out because" in text for text in comments(merge))
    flame = api.get("/api/0/profiles/flame", type="cpu", **RANGE)
    assert (flame.status_code, flame.headers["X-Profbucket-Damaged"]) == (200, "1")
    by_id = api.get(f"/api/0/profiles/{metas[-1].id}+{metas[-2].id}")
    assert (by_id.status_code, by_id.headers["X-Profbucket-Damaged"]) == (200, "1")
    alone = api.get(f"/api/0/profiles/{metas[-1].id}")
    assert (alone.status_code, error_code(alone)) == (500, "damaged")
    assert metas[-1].id in error(alone)


def test_a_damaged_member_list_is_named_in_a_list(api: Api) -> None:
    compacted(api.storage)
    first, second = block_keys(api.storage)
    damage_list(api.storage, first, flip_bit)
    found = api.find(**RANGE)
    assert len(body(found)) == 6
    assert (found.get_json()["damaged"], found.headers["X-Profbucket-Damaged"]) == ([first], "1")
    series = api.get("/api/0/series", **{**RANGE, "from": format_time(MIDNIGHT)}, step="1d")
    assert (body(series)["damaged"], series.headers["X-Profbucket-Damaged"]) == (3, "3")
    damage_list(api.storage, second, flip_bit)
    nothing = api.find(**{**RANGE, "to": format_time(MIDNIGHT + 2 * HOUR - 10**9)})
    assert (nothing.status_code, error_code(nothing)) == (500, "damaged")
    assert first in error(nothing)
    assert second in error(nothing)


def test_time_series_leave_out_a_damaged_service(api: Api) -> None:
    """Grafana's, which come service by service; only damage alone is an error."""
    compacted(api.storage)
    for object_key in block_keys(api.storage):
        damage_list(api.storage, object_key, flip_bit)
    querier = Querier(api.storage)
    query = Query("~.*", ProfileType.CPU, MIDNIGHT, MIDNIGHT + 2 * HOUR - 1, services=("api", "other"))
    with pytest.raises(Damaged):
        list(querier.totals(query))
    post_profiles(api.storage, [5], "other")
    totals = list(querier.totals(query))
    assert [part.service for part in totals] == ["other"]
