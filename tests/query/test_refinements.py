"""Merges and flame graphs of a part of the stacks and frames, over HTTP."""

from dataclasses import replace
from typing import Any

import pytest

from profbucket.limits import Limits
from profbucket.model.form import PROFILES_PATH
from profbucket.model.refinement import Refinement
from profbucket.storage.open import open_storage
from profbucket.times import SECOND
from tests.support.api import NOW, Api, body, comments, error, error_code, total
from tests.support.canonical import canonicalize
from tests.support.profiles import Label, Sample, encode, profile, stack

FLAME = f"{PROFILES_PATH}/flame"
HOUR = {"service": "api", "type": "cpu", "from": "now-1h"}


def make_api(limits: Limits = Limits()) -> Api:
    """Return a service with two profiles, whose samples have labels."""
    api = Api(open_storage("memory:"), limits)
    samples = (
        Sample(stack("compress", "serve", "main"), (1, 5), (Label(b"endpoint", b"/zip"),)),
        Sample(stack("check", "serve", "main"), (1, 3), (Label(b"endpoint", b"/login"),)),
        Sample(stack("gc"), (1, 2), (Label(b"span_id", b"7"),)),
    )
    for number in range(2):
        content = profile(*samples, sample_types=((b"samples", b"count"), (b"cpu", b"nanoseconds")))
        api.posted(encode(replace(content, time_nanos=NOW - number * SECOND)), version=f"{number}")
    return api


def list_stacks(data: bytes) -> dict[str, int]:
    samples = canonicalize(data).samples.items()
    return {
        ";".join(location.frames[0].name.decode() for location in key[0][::-1]): values[1]
        for key, values in samples
    }


@pytest.mark.parametrize(
    ("refinement", "stacks"),
    [
        ({"focus": "compress"}, {"main;serve;compress": 10}),
        ({"ignore": "serve"}, {"gc": 4}),
        ({"hide": "serve|check"}, {"main;compress": 10, "main": 6, "gc": 4}),
        ({"show_from": "serve", "show": "ch|ve"}, {"serve": 10, "serve;check": 6}),
        ({"show_from": "serve"}, {"serve;compress": 10, "serve;check": 6}),
        ({"tagfocus": "endpoint=/zip"}, {"main;serve;compress": 10}),
        ({"tagignore": "endpoint=."}, {"gc": 4}),
        ({"tagroot": "endpoint", "ignore": "gc"}, {"/zip;main;serve;compress": 10, "/login;main;serve;check": 6}),
        ({"tagleaf": "endpoint", "show": "/"}, {"/zip": 10, "/login": 6}),
        ({"tagfocus": "span_id"}, {}),
        ({"tagfocus": "span_id", "keep_labels": "1"}, {"gc": 4}),
        ({"focus": "nobody"}, {}),
    ],
    ids=str,
)
def test_a_merge_is_refined(refinement: dict[str, str], stacks: dict[str, int]) -> None:
    response = make_api().merge(**refinement)
    assert list_stacks(response.data) == stacks
    merged, refined = comments(response)
    assert merged.startswith("service=api type=cpu merged 2 profiles")
    options = {name: value for name, value in refinement.items() if name in Refinement.names()}
    assert refined == f"refined by {Refinement(**options).describe()}"


def test_a_merge_of_one_sample_type_and_a_delta_are_refined() -> None:
    assert total(make_api().merge(sample_type="cpu", focus="compress")) == 10
    api = make_api()
    for at, value in ((2, 10), (1, 35)):
        content = profile(
            Sample(stack("a", "lock"), (value,)), Sample(stack("b"), (value,)), sample_types=((b"delay", b"ns"),)
        )
        api.posted(encode(replace(content, time_nanos=NOW - at * SECOND)), type="mutex")
    assert total(api.merge(type="mutex", delta="1", focus="lock")) == 25


def flat(graph: Any) -> dict[str, list[int]]:
    functions = graph["functions"]
    return dict(zip(functions["name"], map(list, zip(*functions["flat"], strict=True)), strict=True))


def test_a_flame_graph_is_refined() -> None:
    api = make_api()
    graph = body(api.get(FLAME, **HOUR, focus="serve", hide="check"))
    assert (graph["totals"], flat(graph)) == ([16], {"main": [0], "serve": [6], "compress": [10]})
    compared = body(api.get(FLAME, **HOUR, base_labels="version=1", tagfocus="/zip"))
    assert (compared["totals"], flat(compared)["compress"]) == ([10, 5], [10, 5])
    callers = body(api.get(FLAME, **HOUR, ignore="compress", function="serve"))
    assert callers["callers"]["values"] == [[6, 6, 6]]
    nothing = body(api.get(FLAME, **HOUR, focus="nobody"))
    assert (nothing["totals"], nothing["nodes"]["values"]) == ([0], [[0]])


def test_malformed_refinements_are_rejected_before_anything_is_read() -> None:
    api = make_api()
    for path in (f"{PROFILES_PATH}/merge", FLAME):
        for service in ("api", "nobody"):
            request = {**HOUR, "service": service}
            assert error_code(api.get(path, **request, focus="(")) == "invalid_regex"
            assert error_code(api.get(path, **request, tagfocus="9" * 30)) == "invalid_parameter"


def test_labels_with_such_names_are_asked_for_in_labels() -> None:
    api = make_api()
    api.posted(encode(profile(Sample(stack("x"), (1, 1)), time_nanos=NOW)), focus="groups")
    assert len(api.found(focus="groups")) == 1
    assert total(api.merge(labels="focus=groups")) == 1
    assert list_stacks(api.merge(focus="groups").data) == {}
    series = api.get("/api/0/series", **HOUR, focus="groups")
    assert (series.status_code, error_code(series)) == (400, "reserved_parameter")
    assert error(series) == "parameter 'focus' has no meaning here; pass a label of that name in labels="
    assert api.get("/api/0/series", **HOUR, labels="focus=groups").status_code == 200


def test_a_refinement_ends_at_the_deadline_of_the_merge() -> None:
    api = make_api(Limits(merge_seconds=0))
    assert error_code(api.merge(focus="x")) == "max_merge_seconds_exceeded"


# Labels of samples


def test_labels_of_samples_are_listed_with_their_totals() -> None:
    api = make_api()
    tags = body(api.get("/api/0/tags", **HOUR))
    values = [{"value": "/zip", "total": 10}, {"value": "/login", "total": 6}]
    assert tags == {
        "sample_type": {"type": "cpu", "unit": "nanoseconds"},
        "total": 20,
        "tags": [{"key": "endpoint", "total": 16, "values": values, "others": 0}],
        "others": 0,
        "profiles": {"found": 2, "merged": 2, "expired": 0, "damaged": 0},
    }
    refined = body(api.get("/api/0/tags", **HOUR, version="1", focus="check", sample_type="samples"))
    assert (refined["total"], refined["tags"][0]["total"]) == (1, 1)
    all_labels = body(api.get("/api/0/tags", **HOUR, keep_labels="1"))["tags"]
    assert [tag["key"] for tag in all_labels] == ["endpoint", "span_id"]
    assert error_code(api.get("/api/0/tags", **{**HOUR, "type": "trace"})) == "not_mergeable"
    assert error_code(api.get("/api/0/tags", **HOUR, sample_type="x")) == "unknown_sample_type"
    assert api.get("/api/0/tags", **{**HOUR, "service": "nobody"}).status_code == 404
