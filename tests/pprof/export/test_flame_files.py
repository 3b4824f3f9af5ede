"""Flame graphs as SVG and as a page: every box has its value, and no name can be more than text."""

import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.errors import TooMany
from profbucket.limits import Limits
from profbucket.model.merge_format import MergeFormat
from profbucket.pprof import decode
from profbucket.pprof.export.convert import convert
from profbucket.pprof.export.flame_svg import WIDTH
from tests.support.paths import DATA
from tests.support.profiles import Profile, Sample, encode, profile, profile_sets, stack
from tests.support.property_tests import examples

NAMESPACE = "{http://www.w3.org/2000/svg}"
HOSTILE = (
    "</title><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "]]><!--",
    "</svg></body>&lt;&#60;",
    "\x00\x1b[2J\u202e\ud7ff\ufffe",
    "main.Map[go.shape.int]",
)


def draw(data: bytes, max_nodes: int = 5000) -> list[tuple[str, int, float, float]]:
    """Return title, row, left end and width of each box."""
    root = ET.fromstring(convert(data, MergeFormat.SVG, max_nodes))
    boxes = []
    for group in root.iter(f"{NAMESPACE}g"):
        title, rect = group.find(f"{NAMESPACE}title"), group.find(f"{NAMESPACE}rect")
        assert title is not None
        assert rect is not None
        x, y, width = (float(rect.attrib[name]) for name in ("x", "y", "width"))
        boxes.append((title.text or "", round((y - 24) / 17), x, width))
    return boxes


def test_boxes_have_the_width_of_their_share() -> None:
    samples = [
        Sample(stack("a", "main"), (1, 30)),
        Sample(stack("b", "main"), (1, 60)),
        Sample(stack("c"), (1, 10)),
    ]
    boxes = draw(encode(profile(*samples, sample_types=((b"n", b"count"), (b"t", b"ms")))))
    assert sorted(boxes) == [
        ("(all): 100ms (100%)", 0, 0.0, WIDTH),
        ("a: 30ms (30.00%)", 2, 0.6 * WIDTH, 0.3 * WIDTH),
        ("b: 60ms (60.00%)", 2, 0.0, 0.6 * WIDTH),
        ("c: 10ms (10.00%)", 1, 0.9 * WIDTH, 0.1 * WIDTH),
        ("main: 90ms (90.00%)", 1, 0.0, 0.9 * WIDTH),
    ]


def test_small_frames_are_folded_or_left_out() -> None:
    data = (DATA / "shop-0.0.1" / "cpu-1.pb.gz").read_bytes()
    assert 100 < len(draw(data)) < 2000
    few = draw(data, 20)
    assert len(few) <= 20
    assert any(title.startswith("(other): ") for title, *_ in few)


@examples(20)
@given(profile_sets(), st.sampled_from([2, 3, 5000]))
def test_boxes_of_any_profiles_are_within_their_callers(profiles: list[Profile], max_nodes: int) -> None:
    boxes = draw(encode(profiles[0]), max_nodes)
    assert boxes
    for _, row, x, width in boxes:
        assert 0 <= x <= x + width <= WIDTH + 0.02
        if row:
            assert any(
                row == above + 1 and left - 0.02 <= x and x + width <= left + wide + 0.02
                for _, above, left, wide in boxes
            )


@pytest.mark.parametrize("merge_format", sorted(set(MergeFormat) - {MergeFormat.PPROF, MergeFormat.COLLAPSED}))
def test_a_very_long_comment_is_cut(merge_format: MergeFormat) -> None:
    data = encode(profile(Sample(stack("f"), (1, 1)), comments=(b"x" * 1_000_000,)))
    assert len(convert(data, merge_format, 80)) < 10_000


def test_an_empty_profile_has_a_root() -> None:
    assert draw(encode(profile())) == [("(all): 0 (0%)", 0, 0.0, WIDTH)]


class _Page(HTMLParser):
    """The elements of a page with their attributes, and the texts in scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, Any]]] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] == "script" and self.cdata_elem == "script":
            self.scripts.append(data)


@pytest.mark.parametrize("merge_format", [MergeFormat.SVG, MergeFormat.HTML])
def test_names_are_only_text(merge_format: MergeFormat) -> None:
    samples = [Sample(stack(name, f"{name} caller"), (1, 1)) for name in HOSTILE]
    content = profile(
        *samples, sample_types=((b"n", b"count"), (HOSTILE[0].encode(), b"<x>")), comments=(HOSTILE[1].encode(),)
    )
    text = convert(encode(content), merge_format, 5000).decode()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\ufffe\uffff]", text)
    page = _Page(text)
    plain = _Page(convert(encode(profile(*(Sample(stack("f", "g"), (1, 1)),))), merge_format, 5000).decode())
    assert {tag for tag, _ in page.elements} == {tag for tag, _ in plain.elements}
    assert page.scripts == plain.scripts
    assert len(page.scripts) == (merge_format is MergeFormat.HTML)
    attributes = {name for _, attrs in page.elements for name in attrs}
    assert not {name for name in attributes if name.startswith("on") or name in ("href", "src", "style")}
    if merge_format is MergeFormat.SVG:
        titles = {title.rpartition(": ")[0] for title, *_ in draw(encode(content))}
        assert "main.Map[go.shape.int]" in titles
        assert '"><img src=x onerror=alert> caller' in titles  # pprof omits what is in parentheses


def test_the_policy_of_the_page_allows_its_script_only() -> None:
    page = _Page(convert(encode(profile()), MergeFormat.HTML, 5000).decode())
    [policy] = [attrs["content"] for tag, attrs in page.elements if attrs.get("http-equiv")]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")
    assert policy.count("'sha256-") == 1
    assert "unsafe" not in policy.replace("style-src 'unsafe-inline'", "")


@pytest.mark.parametrize("merge_format", [one for one in MergeFormat if one is not MergeFormat.PPROF])
def test_the_size_of_every_format_is_limited(merge_format: MergeFormat) -> None:
    data = (DATA / "shop-0.0.1" / "cpu-1.pb.gz").read_bytes()
    with pytest.raises(TooMany) as caught:
        convert(data, merge_format, 80, Limits(export_bytes=1000))
    assert caught.value.code == "max_export_bytes_exceeded"
    with pytest.raises(TooMany) as caught:
        convert(data, merge_format, 80, Limits(frames=100))
    assert caught.value.code == "max_frames_exceeded"
    assert convert(data, MergeFormat.PPROF, 80) is data


@examples(20)
@given(profile_sets(), st.sampled_from(MergeFormat), st.sampled_from([2, 80]))
def test_any_profile_has_every_format(profiles: list[Profile], merge_format: MergeFormat, max_nodes: int) -> None:
    result = convert(encode(profiles[0]), merge_format, max_nodes)
    if merge_format is not MergeFormat.PPROF:
        result.decode()
    assert decode(encode(profiles[0]))
