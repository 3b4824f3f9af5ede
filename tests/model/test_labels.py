"""Labels and matchers: round trips, and hostile input."""

from collections.abc import Callable
from random import Random
from urllib.parse import quote, quote_plus

import pytest
import re2  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from profbucket.errors import Invalid
from profbucket.model.labels import Labels, Matcher, parse_matchers

VALUES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=30)
NAMES = VALUES.filter(bool)
PAIRS = st.dictionaries(NAMES, VALUES, max_size=8).map(lambda labels: list(labels.items()))
# Dense in the characters that matter to the parser.
HOSTILE = st.text(
    st.sampled_from("=!~,%+&;a0.*([{\\ \0\n\x85é🔥\ud83d") | st.characters(),
    max_size=40,
)


def labels(*pairs: tuple[str, str]) -> Labels:
    return Labels.from_pairs(pairs)


class TestLabels:
    @given(PAIRS)
    def test_labels_round_trip(self, pairs: list[tuple[str, str]]) -> None:
        written = Labels.from_pairs(pairs).format()
        assert written.isascii()
        assert Labels.parse(written) == Labels.from_pairs(pairs)

    @given(PAIRS, st.randoms(use_true_random=False))
    def test_order_does_not_matter(self, pairs: list[tuple[str, str]], random: Random) -> None:
        shuffled = random.sample(pairs, len(pairs))
        assert Labels.from_pairs(shuffled) == Labels.from_pairs(pairs)
        assert Labels.from_pairs(shuffled).format() == Labels.from_pairs(pairs).format()
        assert list(Labels.from_pairs(shuffled)) == sorted(pairs)

    @given(PAIRS, st.sampled_from([quote, quote_plus]))
    def test_both_percent_encodings_are_read(
        self, pairs: list[tuple[str, str]], quoted: Callable[[str], str]
    ) -> None:
        written = ",".join(f"{quoted(key)}={quoted(value)}" for key, value in pairs)
        assert Labels.parse(written) == Labels.from_pairs(pairs)

    @given(HOSTILE)
    def test_any_text_is_labels_or_invalid(self, text: str) -> None:
        try:
            parsed = Labels.parse(text)
        except Invalid as error:
            str(error).encode()  # the message can be sent
            return
        assert Labels.parse(parsed.format()) == parsed
        assert all(key for key, _ in parsed)

    @pytest.mark.parametrize(
        ("text", "pairs"),
        [
            ("", []),
            (",", []),
            (",,a=1,,", [("a", "1")]),  # kube-profefe sends a leading comma
            ("b=2,a=1", [("a", "1"), ("b", "2")]),
            ("a=", [("a", "")]),
            ("a=b=c", [("a", "b=c")]),
            ("a==", [("a", "=")]),
            ("k8s.io/app-name=x_y", [("k8s.io/app-name", "x_y")]),
            ("a=%2C%3D%25", [("a", ",=%")]),
            ("a%2Cb%3D=1", [("a,b=", "1")]),
            ("a=x+y%20z%2B", [("a", "x y z+")]),
            ("a=%F0%9F%94%A5", [("a", "🔥")]),
            ("🔥=ü", [("🔥", "ü")]),
            ("a=%", [("a", "%")]),  # not an escape sequence
            ("a=%zz", [("a", "%zz")]),
            ("a=1,a=1", [("a", "1")]),
            ("a=1,A=2", [("A", "2"), ("a", "1")]),
        ],
    )
    def test_valid_labels(self, text: str, pairs: list[tuple[str, str]]) -> None:
        assert list(Labels.parse(text)) == pairs

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a", "label without '=': 'a'; write labels as key=value,key=value"),
            ("a=1,b", "label without '=': 'b'"),
            ("=1", "label without a key: '=1'"),
            ("=", "label without a key: '='"),
            ("a=1,a=2", "label 'a' is given twice, with different values"),
            ("a=1,%61=2", "label 'a' is given twice"),
            ("a=%00", r"control character in label 'a': '\\x00'"),
            ("a%0A=1", r"control character in label 'a\\n'"),
            ("a=\x7f", "control character"),
            ("a=%C2%85", "control character"),
            ("a=%FF", "label is not UTF-8: '%FF'"),
            ("a=%ED%A0%80", "is not UTF-8"),
            ("a=\ud800", "control character"),
            ("\udc80=1", "control character"),
        ],
    )
    def test_invalid_labels(self, text: str, message: str) -> None:
        with pytest.raises(Invalid, match=message) as caught:
            Labels.parse(text)
        assert caught.value.code == "invalid_label"

    @pytest.mark.parametrize("pair", [("", "\ud800"), ("", "\n"), ("\ud800", ""), ("a", "\udfff"), ("\0", "1")])
    def test_invalid_pairs(self, pair: tuple[str, str]) -> None:
        with pytest.raises(Invalid) as caught:
            labels(pair)
        assert str(caught.value).isprintable()

    def test_the_text_of_labels_does_not_change(self) -> None:
        """Hashed into ids and series, and stored in object metadata."""
        one = labels(("version", "0.0.1"), ("k8s.io/app", "a/b~c ü,=%+!"), ("B", ""), ("é🔥", "x_y-z"))
        assert one.format() == (
            "B=,k8s.io%2Fapp=a%2Fb%7Ec%20%C3%BC%2C%3D%25%2B%21,version=0.0.1,%C3%A9%F0%9F%94%A5=x_y-z"
        )

    def test_labels_may_be_long_but_error_messages_are_short(self) -> None:
        many = Labels.from_pairs((f"{'n' * 4096}{number}", "v" * 4096) for number in range(100))
        assert Labels.parse(many.format()) == many
        assert len(many) == 100
        long = "x" * 100_000
        for text in (
            long,
            f"={long}",
            f"a={long},a=1,{long}",
            f"{long}=1,{long}=2",
            f"{long}=%00",
            f"a=%FF{long}",
        ):
            with pytest.raises(Invalid) as caught:
                Labels.parse(text)
            assert len(str(caught.value)) < 400

    def test_a_missing_label_is_empty(self) -> None:
        assert labels(("a", "1")).get("a") == "1"
        assert labels(("a", "1")).get("b") == ""
        assert Labels().get("a") == ""


class TestMatchers:
    @pytest.mark.parametrize(
        ("text", "key", "operator", "value"),
        [
            ("a=1", "a", "=", "1"),
            ("a!=1", "a", "!=", "1"),
            ("a=~1.*", "a", "=~", "1.*"),
            ("a!~1.*", "a", "!~", "1.*"),
            ("a=", "a", "=", ""),
            ("a!=", "a", "!=", ""),
            ("a=~", "a", "=~", ""),
            ("a=%7E1", "a", "=", "~1"),
            ("a=!1", "a", "=", "!1"),
            ("a=b!=c", "a", "=", "b!=c"),
            ("a==b", "a", "=", "=b"),
            ("a!==b", "a", "!=", "=b"),
            ("a!!=b", "a!", "!=", "b"),
            ("a!b=c", "a!b", "=", "c"),
            ("a~b=c", "a~b", "=", "c"),
            ("k8s.io/app-name=~x%2Cy", "k8s.io/app-name", "=~", "x,y"),
            ("a=~x%2B", "a", "=~", "x+"),
            ("a=~x+", "a", "=~", "x "),  # an unescaped "+" is a space
            ("%3D=1", "=", "=", "1"),
        ],
    )
    def test_valid_matchers(self, text: str, key: str, operator: str, value: str) -> None:
        assert parse_matchers(text) == (Matcher(key, operator, value),)

    @given(PAIRS)
    def test_the_text_of_labels_is_a_matcher_for_them(self, pairs: list[tuple[str, str]]) -> None:
        one = Labels.from_pairs(pairs)
        assert parse_matchers(one.format()) == tuple(Matcher(key, "=", value) for key, value in one)
        assert all(matcher.matches(one) for matcher in parse_matchers(one.format()))

    @given(NAMES, st.sampled_from(["=", "!=", "=~", "!~"]), VALUES)
    def test_matchers_round_trip(self, key: str, operator: str, value: str) -> None:
        matcher = Matcher(key, operator, re2.escape(value) if "~" in operator else value)
        assert parse_matchers(matcher.format()) == (matcher,)
        assert matcher.format().isascii()

    @pytest.mark.parametrize(
        ("text", "key", "operator", "value"),
        [
            ("a=1", "a", "=", "1"),
            ("a!~x+,y%2C", "a", "!~", "x+,y%2C"),
            ("a=", "a", "=", ""),
            ("a b!=c d", "a b", "!=", "c d"),
            ("a=\n", "a", "=", "\n"),
        ],
    )
    def test_typed_matchers_are_not_percent_encoded(self, text: str, key: str, operator: str, value: str) -> None:
        assert Matcher.parse(text) == Matcher(key, operator, value)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "invalid label matcher ''; write key=value"),
            ("a", "invalid label matcher 'a'"),
            ("=1", "invalid label matcher '=1'"),
            ("a=\udcff", "is not UTF-8"),  # a byte of Latin-1 in a terminal
            ("a=~\udcff", "is not UTF-8"),
            ("\udcff!=1", "is not UTF-8"),
            ("a=~(", "invalid regular expression"),
        ],
    )
    def test_invalid_typed_matchers(self, text: str, message: str) -> None:
        with pytest.raises(Invalid, match=message):
            Matcher.parse(text).compile()

    @given(HOSTILE, PAIRS)
    def test_any_text_is_matchers_or_invalid(self, text: str, pairs: list[tuple[str, str]]) -> None:
        try:
            matchers = parse_matchers(text)
        except Invalid as error:
            str(error).encode()  # the message can be sent
            return
        for matcher in matchers:
            assert matcher.matches(Labels.from_pairs(pairs)) in (True, False)

    @given(NAMES, VALUES, PAIRS)
    def test_an_operator_and_its_negation_are_complementary(
        self, key: str, value: str, pairs: list[tuple[str, str]]
    ) -> None:
        one = Labels.from_pairs(pairs)
        assert Matcher(key, "=", value).matches(one) is not Matcher(key, "!=", value).matches(one)
        pattern = re2.escape(value)
        assert Matcher(key, "=~", pattern).matches(one) is not Matcher(key, "!~", pattern).matches(one)
        assert Matcher(key, "=~", pattern).matches(one) is Matcher(key, "=", value).matches(one)

    @pytest.mark.parametrize(
        ("text", "value", "expected"),
        [
            ("v=1", "1", True),
            ("v=1", "", False),
            ("v=", "", True),
            ("v!=1", "", True),
            ("v=~1", "1", True),
            ("v=~1", "10", False),
            ("v=~1", "01", False),
            ("v=~1|2", "2", True),
            ("v=~1|2", "12", False),
            ("v=~.%2B", "", False),
            ("v=~.*", "", True),
            ("v=~ü.", "ü🔥", True),  # "." matches a character, not a byte
            ("v=~(?i)PROD", "prod", True),
            ("v=~^a$", "a", True),
            ("v!~1.*", "10", False),
            ("v!~1.*", "", True),
        ],
    )
    def test_matches(self, text: str, value: str, expected: bool) -> None:
        (matcher,) = parse_matchers(text)
        assert matcher.matches(labels(("v", value))) is expected
        if not value:
            assert matcher.matches(labels(("other", "1"))) is expected

    def test_keys_may_repeat_and_empty_items_are_skipped(self) -> None:
        assert [matcher.operator for matcher in parse_matchers(",v!=1,,v!=2,v=~.*,")] == ["!=", "!=", "=~"]
        assert parse_matchers("") == ()

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a", "label matcher without '=': 'a'; write key=value, key!=value, key=~regex or key!~regex"),
            ("a!b", "label matcher without '='"),
            ("a~b", "label matcher without '='"),
            ("=1", "label matcher without a key: '=1'"),
            ("!=1", "label matcher without a key"),
            ("a=%FF", "is not UTF-8"),
            ("a=~\ud800", "is not UTF-8"),
            ("a=~(", r"label 'a': invalid regular expression \(RE2 syntax\): missing \)"),
            ("a!~[", "invalid regular expression"),
            ("a=~x**", "invalid regular expression"),
            (r"a=~(x)\1", "invalid regular expression"),  # RE2 has no backreferences
            ("a=~(?=x)", "invalid regular expression"),
            ("a=~(?<!x)y", "invalid regular expression"),
        ],
    )
    def test_invalid_matchers(self, text: str, message: str) -> None:
        with pytest.raises(Invalid, match=message):
            parse_matchers(text)

    @pytest.mark.parametrize("pattern", ["(%s" % ("a" * 10**5), "(" * 10**5, "[" * 10**5, "(x{99}){9}" * 10**4])
    def test_the_error_for_a_huge_expression_is_short(self, pattern: str) -> None:
        with pytest.raises(Invalid) as caught:
            Matcher("k", "=~", pattern).compile()
        assert len(str(caught.value)) < 400

    @pytest.mark.parametrize(
        "pattern", ["(a+)+$", "(a|aa)+", "(.*)*b", ".*.*.*.*.*.*b", "(a*)*(a*)*(a*)*b", "(a?){99}b"]
    )
    def test_expressions_match_in_linear_time(self, pattern: str) -> None:
        """A backtracking engine would take exponential time for these."""
        matcher = Matcher("v", "=~", pattern).compile()
        assert isinstance(matcher._pattern, re2._Regexp)
        for _ in range(20):
            assert matcher.matches(labels(("v", "a" * 50_000 + "!"))) is False
        assert Matcher("v", "!~", pattern).matches(labels(("v", "a" * 50_000 + "!"))) is True

    def test_matchers_are_parsed_in_linear_time(self) -> None:
        for text in ("!" * 200_000, "!~" * 100_000 + "a", "a" * 200_000):
            with pytest.raises(Invalid) as caught:
                parse_matchers(text)
            assert len(str(caught.value)) < 400
        (matcher,) = parse_matchers("a!" * 100_000 + "=")
        assert len(matcher.key) == 199_999
