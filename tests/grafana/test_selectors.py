"""Selectors in PromQL's form."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.errors import Invalid
from profbucket.grafana.selectors import Selector
from profbucket.limits import Limits
from profbucket.model.labels import Labels, Matcher


def conditions(text: str) -> list[tuple[str, str, str]]:
    selector = Selector.parse(text)
    matchers = (*selector.service, *selector.profile_type, *selector.labels)
    return [(matcher.key, matcher.operator, matcher.value) for matcher in matchers]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  ", []),
        ("{}", []),
        ("{ }", []),
        ('{service_name="demo",}', [("service_name", "=", "demo")]),
        (' { a = "1" , b != "2" } ', [("a", "=", "1"), ("b", "!=", "2")]),
        ('{a=~"1.*",b!~"x|y"}', [("a", "=~", "1.*"), ("b", "!~", "x|y")]),
        ("{a='it\\'s \"x\"'}", [("a", "=", 'it\'s "x"')]),
        ("{a=`\\d{2}`}", [("a", "=", r"\d{2}")]),
        (r'{a="\\d\"\n\x41\101\u00e4\U0001f525"}', [("a", "=", '\\d"\nAAä🔥')]),
        (r'{a="\xc3\xa4"}', [("a", "=", "ä")]),
        (
            '{k8s.pod.name="p","a b"="c",app-id="}, {"}',
            [("k8s.pod.name", "=", "p"), ("a b", "=", "c"), ("app-id", "=", "}, {")],
        ),
        ('{a=""}', [("a", "=", "")]),
    ],
)
def test_valid_selectors(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert conditions(text) == expected


@pytest.mark.parametrize(
    "text",
    ["{", "}", "a", "process_cpu{}", "{a}", "{a=}", '{a=b}', '{="b"}', '{a="b" c="d"}', '{a="b"}}', '{a=="b"}',
     '{a="b}', "{,}", '{a="b",,}', r'{a="\q"}', r'{a="\xff"}', r'{a="\ud800"}', r'{a="\U00110000"}',
     r'{a="\U80000000"}', '{""="a"}', '{a=~"("}', '{a=~"(?=x)"}'],
)  # fmt: skip
def test_malformed_selectors(text: str) -> None:
    with pytest.raises(Invalid) as raised:
        Selector.parse(text)
    assert raised.value.code in ("invalid_matcher", "invalid_regex")


def test_conditions_are_on_services_profile_types_and_labels() -> None:
    selector = Selector.parse('{service_name=~"a.*",__profile_type__="t",__unit__!="u",version="1"}')
    assert selector.service == (Matcher("service_name", "=~", "a.*"),)
    assert [matcher.key for matcher in selector.profile_type] == ["__profile_type__", "__unit__"]
    assert selector.labels == (Matcher("version", "=", "1"),)


def test_regular_expressions_match_whole_values_and_a_missing_label_is_empty() -> None:
    [matcher] = Selector.parse('{version=~"1"}').labels
    assert matcher.matches(Labels((("version", "1"),)))
    assert not matcher.matches(Labels((("version", "11"),)))
    [matcher] = Selector.parse('{version!~"1.*"}').labels
    assert matcher.matches(Labels())


def test_the_number_of_conditions_is_limited() -> None:
    with pytest.raises(Invalid, match="PROFBUCKET_MAX_LABELS"):
        Selector.parse('{a="1",b="2",c="3"}', Limits(labels=2))


def test_conditions_beyond_the_limit_are_not_compiled() -> None:
    with pytest.raises(Invalid, match="PROFBUCKET_MAX_LABELS"):
        Selector.parse('{a=~"1",b=~"2",c=~"("}', Limits(labels=2))


@given(st.text() | st.text("{}=\"~!,a\\'`").map("{{{}}}".format))
def test_any_text_is_a_selector_or_invalid(text: str) -> None:
    with suppress(Invalid):
        Selector.parse(text)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_value_can_be_written(value: str) -> None:
    quoted = "".join(f"\\U{ord(character):08x}" for character in value)
    assert conditions(f'{{a="{quoted}"}}') == [("a", "=", value)]
