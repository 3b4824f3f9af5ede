"""What a list of targets may say."""

import json
from typing import Any

import pytest

from profbucket.errors import Misconfigured
from profbucket.scrape.targets import DEFAULT_PROFILES, parse_targets


def parsed(**entry: Any) -> Any:
    [target] = parse_targets(json.dumps([{"url": "http://h:6060", "service": "api", **entry}]))
    return target


def test_a_url_and_a_service_are_enough() -> None:
    target = parsed()
    assert target.url == "http://h:6060/debug/pprof"
    assert target.profiles == DEFAULT_PROFILES
    assert dict(target.labels) == {"instance": "h:6060"}
    assert (target.seconds, target.timeout_seconds) == (10, 25)


def test_what_is_given_is_taken() -> None:
    target = parsed(
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
    ("entry", "sentence"),
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
def test_what_is_wrong_is_named_with_its_target(entry: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Misconfigured, match="target 2: ") as refused:
        parse_targets(
            json.dumps([{"url": "http://h", "service": "a"}, {"url": "http://h", "service": "b", **entry}])
        )
    assert refused.match(sentence)


@pytest.mark.parametrize("text", ["", "{", "{}", "[1]", '"x"', b"\xff", "[" * 100_000])
def test_what_is_no_list_is_refused(text: str | bytes) -> None:
    with pytest.raises(Misconfigured, match=r"the targets (are not|must be)"):
        parse_targets(text)


def test_a_secret_is_not_in_the_error() -> None:
    with pytest.raises(Misconfigured) as refused:
        parsed(url="http://x:secret@h?a=b")
    assert "secret" not in str(refused.value)
