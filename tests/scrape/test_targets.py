"""Valid and invalid lists of targets."""

import json
from typing import Any

import pytest

from profbucket.errors import Misconfigured
from profbucket.scrape.targets import DEFAULT_PROFILES, parse_targets


def parse_one(**entry: Any) -> Any:
    [target] = parse_targets(json.dumps([{"url": "http://h:6060", "service": "api", **entry}]))
    return target


def test_only_url_and_service_are_required() -> None:
    target = parse_one()
    assert target.url == "http://h:6060/debug/pprof"
    assert target.profiles == DEFAULT_PROFILES
    assert dict(target.labels) == {"instance": "h:6060"}
    assert (target.seconds, target.timeout_seconds) == (10, 25)


def test_all_fields() -> None:
    target = parse_one(
        url="https://x:secret@h/admin/prof/",
        labels={"version": "1", "instance": "a"},
        profiles=["heap", "trace"],
        seconds=5,
        timeout_seconds=9,
        headers={"X-A": "b"},
        allow=["169.254.1.1"],
    )
    assert target.url == "https://h/admin/prof"
    assert dict(target.labels) == {"version": "1", "instance": "a"}
    assert target.headers == {"Authorization": "Basic eDpzZWNyZXQ=", "X-A": "b"}
    assert target.allow == {"169.254.1.1"}
    assert "secret" not in repr(target)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"url": "ftp://h"}, "url: 'ftp://h' is not"),
        ({"url": "file:///etc/passwd"}, "url: "),
        ({"url": "http://"}, "url: "),
        ({"url": "http://h?a=b"}, "url: "),
        ({"url": "http://h/\r\nX: y"}, "url: "),
        ({"url": "http://h:99999"}, "url: "),
        ({"url": 5}, "url is required and must be a string, not 5"),
        ({"service": ""}, "service is required"),
        ({"labels": {"a": 1}}, "labels must be an object"),
        ({"labels": {"a": "\n"}}, "control character"),
        ({"headers": {"a": "b\r\nc"}}, "headers must be ASCII"),
        ({"headers": {"a": "ü"}}, "headers must be ASCII"),
        ({"profiles": []}, r"profiles=\[\]"),
        ({"profiles": ["heap", "heap"]}, "each at most once"),
        ({"profiles": ["../secret"]}, "profiles="),
        ({"profiles": "heap"}, "it must be a list"),
        ({"seconds": 0}, "seconds=0"),
        ({"seconds": True}, "seconds=True"),
        ({"seconds": 30}, "timeout_seconds=25: it must be more than the 30 seconds"),
        ({"timeout_seconds": 1e9}, "timeout_seconds="),
        ({"timeout": 1}, "unknown field 'timeout'; known fields: url, service"),
    ],
)
def test_an_invalid_field_is_an_error_with_the_number_of_the_target(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(Misconfigured, match="target 2: ") as caught:
        parse_targets(
            json.dumps([{"url": "http://h", "service": "a"}, {"url": "http://h", "service": "b", **entry}])
        )
    assert caught.match(message)
    assert caught.value.code == "invalid_targets"


@pytest.mark.parametrize("text", ["", "{", "{}", "[1]", '"x"', b"\xff", "[" * 100_000])
def test_an_invalid_list_is_an_error(text: str | bytes) -> None:
    with pytest.raises(Misconfigured, match=r"the targets (are not|must be)"):
        parse_targets(text)


def test_errors_do_not_show_credentials() -> None:
    with pytest.raises(Misconfigured) as caught:
        parse_one(url="http://x:secret@h?a=b")
    assert "secret" not in str(caught.value)
