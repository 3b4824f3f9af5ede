"""Refined profiles equal those that ``go tool pprof -proto`` writes with the same options."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.errors import Invalid, TooMany
from profbucket.limits import Limits
from profbucket.model.refinement import Refinement
from profbucket.pprof import decode
from profbucket.pprof import encode as encode_message
from profbucket.pprof.merge import merge
from profbucket.pprof.refine import refine
from profbucket.pprof.report import regex_match
from profbucket.pprof.report.refiner import Refiner
from profbucket.pprof.report.regex_match import NamePattern
from tests.support.canonical import assert_compact, canonicalize
from tests.support.go_tool import GoPprof
from tests.support.paths import CORPUS, DATA
from tests.support.profiles import (
    Function,
    Label,
    Line,
    Location,
    Profile,
    Sample,
    encode,
    function,
    profile,
    profile_sets,
    stack,
)
from tests.support.profiles import (
    Mapping as BinaryMapping,
)
from tests.support.property_tests import examples

SHOP = BinaryMapping(0x1000, 0x9000, 0, b"/usr/bin/shop", b"abc")
LIBC = BinaryMapping(0x20000, 0x30000, 0, b"/lib/libc.so.6")


def refine_with_go(go_pprof: GoPprof, data: bytes, options: Mapping[str, str], *flags: str) -> bytes:
    source, output = go_pprof.directory / "refined-in.pb.gz", go_pprof.directory / "refined-out.pb.gz"
    source.write_bytes(data)
    refinement = [f"-{name}={value}" for name, value in options.items()]
    go_pprof("-proto", *flags, *refinement, f"-output={output}", source).check()
    return output.read_bytes()


def list_samples(data: bytes) -> dict[Any, tuple[int, ...]]:
    """Return the samples of *data* with their values, without those that add up to zero."""
    return {key: values for key, values in canonicalize(data).samples.items() if any(values)}


def assert_equals_go(go_pprof: GoPprof, data: bytes, options: Mapping[str, str]) -> bytes:
    refined = refine(data, Refiner(Refinement(**options)))
    assert list_samples(refined) == list_samples(refine_with_go(go_pprof, data, options, "-symbolize=none")), (
        options
    )
    assert_compact(refined)
    return refined


REQUEST = (Label(b"endpoint", b"/zip"), Label(b"bytes", number=2048, unit=b"bytes"))
LOGIN = (Label(b"endpoint", b"/login"), Label(b"user", b"a,b=c"), Label(b"bytes", number=3 << 20, unit=b"bytes"))
MIXED = (Label(b"endpoint", b"/a"), Label(b"endpoint", b"/zip"), Label(b"latency", number=7, unit=b"ms"))
PLAIN = (Label(b"latency", number=7000), Label(b"request", number=64), Label(b"n", number=-(2**63)))
INLINED = Location(
    SHOP, 0x1100, tuple(Line(function(name, f"{name}.go"), 7) for name in ("inner", "middle", "outer"))
)
CONTENT = profile(
    Sample((INLINED, *stack("serve", "main")), (1, 70), REQUEST),
    Sample((Location(SHOP, 0x1200), INLINED, *stack("main")), (2, 30), LOGIN),
    Sample((*stack("sort"), Location(LIBC, 0x21000), *stack("serve", "sort", "main")), (3, 5), MIXED),
    Sample(stack("sort", "main"), (4, 9), PLAIN),
    Sample(stack("main"), (5, 1)),
    Sample((), (6, 1)),
)
OPTIONS: list[dict[str, str]] = [
    {},
    {"focus": "serve"},
    {"focus": r"inner\.go"},
    {"focus": "libc"},
    {"focus": "nobody"},
    {"ignore": "sort|inner"},
    {"ignore": "shop"},
    {"hide": "main"},
    {"hide": "middle"},
    {"hide": "inner|outer"},
    {"hide": "shop"},
    {"hide": "."},
    {"show": "main|middle"},
    {"show": "libc"},
    {"show": "shop"},
    {"show_from": "serve"},
    {"show_from": "middle"},
    {"show_from": "sort"},
    {"show_from": "shop"},
    {"focus": "serve", "ignore": "sort", "hide": "inner", "show": "e", "show_from": "serve"},
    {"focus": "(?i)SERVE|^sort$"},
    {"tagfocus": "/zip"},
    {"tagfocus": "endpoint:/zip"},
    {"tagfocus": "endpoint=^/zip$"},
    {"tagfocus": "endpoint=/login,/zip"},
    {"tagfocus": "endpoint,user"},
    {"tagfocus": "nokey=."},
    {"tagfocus": "=zip"},
    {"tagfocus": "endpoint="},
    {"tagignore": "/zip"},
    {"tagignore": "user=b=c"},
    {"tagfocus": "2kb"},
    {"tagfocus": "2048b"},
    {"tagfocus": "1mb:"},
    {"tagfocus": ":2kb"},
    {"tagfocus": "1kb:4096kb"},
    {"tagfocus": "bytes=1kb:3mb"},
    {"tagfocus": "endpoint=1kb:3mb"},
    {"tagfocus": "7ms"},
    {"tagfocus": "latency=1us:1s"},
    {"tagfocus": "latency=7000"},
    {"tagfocus": "5:7latency"},
    {"tagfocus": "64"},
    {"tagfocus": "request=64b"},
    {"tagfocus": "n=-1:"},
    {"tagfocus": "n=:-1"},
    {"tagfocus": "1kb:1s"},
    {"tagfocus": "5minimum"},
    {"tagignore": "+2kb:"},
    {"tagroot": "endpoint"},
    {"tagroot": "endpoint,bytes", "tagleaf": "latency,,user"},
    {"tagleaf": "n,request"},
    {"tagroot": "nokey"},
    {"tagroot": "endpoint", "focus": "^/zip$"},
    {"tagroot": "endpoint", "focus": "endpoint", "hide": "main", "show_from": "/login"},
    {"tagleaf": "bytes", "tagfocus": "endpoint=zip", "tagignore": "latency=1ms:"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_refinements_equal_those_of_pprof(go_pprof: GoPprof, options: dict[str, str]) -> None:
    assert_equals_go(go_pprof, encode(CONTENT), options)


@pytest.mark.parametrize(
    "options", [{"hide": "^$"}, {"show": "^$"}, {"focus": "^$"}, {"show_from": "x*"}], ids=str
)
@pytest.mark.parametrize("has_binary", [True, False])
def test_a_binary_without_a_name_matches_as_in_pprof(
    go_pprof: GoPprof, options: dict[str, str], has_binary: bool
) -> None:
    """pprof gives all locations a binary without a name if no location has one."""
    samples = [Sample(stack("work", "main"), (1, 1)), Sample((Location(None, 7), *stack("main")), (1, 2))]
    if has_binary:
        samples.append(Sample((Location(LIBC, 0x21000),), (1, 4)))
    assert_equals_go(go_pprof, encode(profile(*samples)), options)


def test_names_are_matched_as_pprof_shows_them(go_pprof: GoPprof) -> None:
    """Without parameters and template arguments, in which ``int`` would match."""
    names = ("std::vector<int>::push(int)", "main.Map[go.shape.int]", "print")
    data = encode(profile(*(Sample(stack(name, "main"), (1, 2**i)) for i, name in enumerate(names))))
    for options in ({"focus": "int"}, {"ignore": r"\("}, {"show_from": "push$"}, {"hide": "^std::vector::push$"}):
        totals = [
            decode(result).totals
            for result in (refine(data, Refiner(Refinement(**options))), refine_with_go(go_pprof, data, options))
        ]
        assert totals[0] == totals[1], options


def test_frames_to_drop_are_dropped_first(go_pprof: GoPprof) -> None:
    content = replace(CONTENT, drop_frames=b"s.*", keep_frames=b"sort")
    for options in ({"focus": "serve"}, {"hide": "main"}, {"tagroot": "endpoint", "show": "s"}):
        refined = assert_equals_go(go_pprof, encode(content), options)
        assert canonicalize(refined).header.drop_frames == b""


@pytest.mark.parametrize("options", [{"focus": "sort", "hide": "runtime"}, {"show_from": "ServeHTTP"}], ids=str)
def test_refinements_of_real_profiles_equal_those_of_pprof(go_pprof: GoPprof, options: dict[str, str]) -> None:
    for source in [*sorted(DATA.glob("shop-0.0.1/*-1.pb.gz")), *DATA.glob("python/*.pb*")]:
        assert_equals_go(go_pprof, source.read_bytes(), options)


@pytest.mark.parametrize(
    "options", [{"focus": "typecheck", "hide": "^runtime"}, {"ignore": r"\.gc", "show_from": "ssa", "show": "cmd"}]
)
def test_refinements_of_the_corpus_equal_those_of_pprof(go_pprof: GoPprof, options: dict[str, str]) -> None:
    """Profiles of the Go compiler: deep recursion, inlining and generic functions."""
    sources = sorted(CORPUS.glob("*.pb.gz"))[::20]
    if not sources:
        pytest.skip("the corpus of Go CPU profiles is missing: see tests/support/paths.py")
    assert_equals_go(go_pprof, merge(source.read_bytes() for source in sources), options)


PATTERNS = st.sampled_from(
    ["main", "f|g", "^$", ".", "shop", "libc", "^f", "utf", "ö", "kernel", r"\d", "^(a|b)?$"]
)
TAG_PATTERNS = PATTERNS | st.sampled_from(
    ["main=a", "=a|b", "1:9", "3bytes:", ":1kb", "main=2ms:1s", "1ms:1bytes", "f:a,g", "\N{REPLACEMENT CHARACTER}"]
)
TAG_KEYS = st.lists(st.sampled_from(["main", "f", "", "g", "größe"]), max_size=3).map(",".join)


@st.composite
def refinements(draw: Callable[..., Any]) -> dict[str, str]:
    strategies = dict.fromkeys(Refinement.names(), PATTERNS)
    strategies |= {"tagfocus": TAG_PATTERNS, "tagignore": TAG_PATTERNS, "tagroot": TAG_KEYS, "tagleaf": TAG_KEYS}
    names = draw(st.lists(st.sampled_from(sorted(strategies)), max_size=4, unique=True))
    return {name: draw(strategies[name]) for name in names}


@examples(15)
@given(profile_sets(columns=False, headers=False), refinements())
def test_refinements_of_any_profiles_equal_those_of_pprof(
    go_pprof: GoPprof, profiles: list[Profile], options: dict[str, str]
) -> None:
    message = decode(encode(profiles[0])).message
    for own in message.function:
        own.system_name = 0  # with -symbolize=none, pprof does not make names of these
    assert_equals_go(go_pprof, encode_message(message), options)


def test_a_refined_profile_says_how() -> None:
    refined = refine(
        encode(replace(CONTENT, comments=(b"of the night",))), Refiner(Refinement(focus="a\x1b", tagroot="n" * 99))
    )
    assert canonicalize(refined).header.comments == (
        b"of the night",
        f"refined by focus=a\N{REPLACEMENT CHARACTER} tagroot={'n' * 72}…".encode(),
    )


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"focus": "("}, "invalid_regex"),
        ({"hide": "x{1001}"}, "invalid_regex"),
        ({"show": r"(?<=a)b"}, "invalid_regex"),
        ({"tagfocus": "a,("}, "invalid_regex"),
        ({"tagignore": "key=["}, "invalid_regex"),
        ({"tagfocus": "9223372036854775808"}, "invalid_parameter"),
        ({"tagfocus": "1:" + "9" * 5000}, "invalid_parameter"),
        ({"tagignore": "key=" + "a," * 64}, "invalid_parameter"),
        ({"focus": "\udcff"}, "invalid_regex"),
    ],
    ids=str,
)
def test_malformed_refinements_are_rejected(options: dict[str, str], code: str) -> None:
    with pytest.raises(Invalid) as caught:
        Refiner(Refinement(**options))
    assert caught.value.code == code


# Profiles and patterns that would take much time or memory


class StoppedError(Exception):
    """Raised in place of the error after a deadline."""


def test_the_deadline_is_checked_between_long_names() -> None:
    names = [bytes([97 + i]) * (1 << 20) for i in range(20)]
    locations = [Location(lines=(Line(Function(name, name)),)) for name in names]
    data = encode(profile(*(Sample((location,), (1, 1)) for location in locations)))
    checks: list[None] = []

    def check_time() -> None:
        checks.append(None)
        if len(checks) > 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        refine(data, Refiner(Refinement(focus="(a?){300}(a){300}$"), check_time))


def test_only_the_beginning_of_a_very_long_name_is_searched() -> None:
    names = [b"x" * (60 << 10) + b"needle", b"x" * (70 << 10) + b"needle"]
    samples = [Sample((Location(lines=(Line(Function(name, name)),)),), (1, 2**i)) for i, name in enumerate(names)]
    assert decode(refine(encode(profile(*samples)), Refiner(Refinement(focus="needle")))).totals[0].value == 1


def test_the_number_of_frames_of_tags_is_limited() -> None:
    with pytest.raises(Invalid) as caught:
        refine(encode(CONTENT), Refiner(Refinement(tagroot="a," * 40, tagleaf="b," * 40)))
    assert caught.value.code == "max_labels_exceeded"


def test_a_matcher_forgets_what_it_has_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regex_match, "_MAX_KNOWN", 3)
    matcher = NamePattern("7$", lambda: None)
    texts = [b"%d" % number for number in range(30)]
    assert [text for text in texts + texts if matcher(text)] == [b"7", b"17", b"27"] * 2
    assert len(matcher._known) <= 3


def test_frames_of_tags_are_limited_in_memory() -> None:
    """One long text in many labels of many samples: joined, it would be a thousand times as large."""
    labels = (Label(b"k", b"x" * 100_000),) * 100
    samples = [Sample(stack(f"f{i}"), (1, 1), (*labels, Label(b"k", b"%d" % i))) for i in range(10)]
    message = decode(encode(profile(*samples))).message
    with pytest.raises(TooMany) as caught:
        Refiner(Refinement(tagroot="k")).apply(message, Limits(merge_memory_bytes=50 << 20))
    assert caught.value.code == "max_merge_memory_bytes_exceeded"
    assert refine(encode_message(message), Refiner(Refinement(tagroot="other")))
