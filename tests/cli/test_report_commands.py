"""Commands that show profiles: top with a base, labels, tags, flame."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_line import profbucket
from tests.support.go_tool import GoPprof
from tests.support.paths import DATA
from tests.support.profiles import Label, Sample, encode, profile, stack
from tests.support.serving import served

OLD = sorted((DATA / "shop-0.0.1").glob("cpu-?.pb.gz"))
NEW = sorted((DATA / "shop-0.0.2").glob("cpu-?.pb.gz"))
SHOP = ("--service", "shop", "--type", "cpu", "--from", "0")


@pytest.fixture(scope="module", params=["--url", "--storage"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Yield the options for a collector and those for a storage, with CPU profiles of two versions of a shop."""
    directory = tmp_path_factory.mktemp("reports")
    storage = (directory / "profiles").as_uri()
    for version, files in (("1", OLD), ("2", NEW)):
        profbucket("push", *files, *SHOP[:4], "--label", f"version={version}", "--storage", storage).check()
    profbucket("push", OLD[0], "--service", "a$(b)", "--type", "cpu", "--storage", storage).check()
    if request.param == "--storage":
        yield ["--storage", storage]
    else:
        with served(storage, directory / "log") as url:
            yield ["--url", url]


def test_top_with_a_base_is_that_of_pprof(go_pprof: GoPprof, tmp_path: Path) -> None:
    merged = tmp_path / "base.pb.gz"
    profbucket("merge", *OLD[:2], "-o", merged).check()
    for new, old, base in ((NEW[:1], OLD[:1], OLD[0]), (NEW, OLD[:2], merged)):
        options = [word for file in old for word in ("--base", str(file))]
        expected = go_pprof("-top", f"-base={base}", *new).check().text
        assert profbucket("top", *new, *options).check().text == expected


def test_top_subtracts_other_labels_and_ranges(place: list[str]) -> None:
    versions = profbucket(
        "top", *SHOP, "--label", "version=2", "--base-label", "version=1", "--json", *place
    ).check()
    files = profbucket("top", *NEW, *(f"--base={file}" for file in OLD), "--json").check()
    assert json.loads(versions.text)["functions"] == json.loads(files.text)["functions"]
    nothing = profbucket("top", *SHOP, "--base-from", "1", "--json", *place).check()
    assert json.loads(nothing.text)["functions"] == []
    wrong = profbucket("top", NEW[0], "--base-from", "1")
    assert wrong.returncode == 2


def test_top_as_json_has_the_values_of_the_table() -> None:
    report = json.loads(profbucket("top", NEW[0], "--json").check().text)
    table = profbucket("top", NEW[0]).check().text
    assert report.keys() == {"header", "unit", "total", "functions"}
    assert report["header"][-1] in table
    assert report["unit"] == "nanoseconds"
    first = report["functions"][0]
    assert first["flat"] <= first["cum"] <= report["total"]
    assert len(report["functions"]) == len(table.splitlines()) - len(report["header"]) - 1
    for function, line in zip(report["functions"], table.splitlines()[len(report["header"]) + 1 :], strict=True):
        mark = function["inlined"] and f" ({function['inlined']})"
        assert line.endswith(f"%  {function['name']}{mark}")


def test_labels_are_lines_for_the_option_label(place: list[str]) -> None:
    assert profbucket("labels", "--service", "shop", *place).check().text == "version=1\nversion=2\n"
    assert profbucket("labels", "--service", "~sh.*", *place).check().text == "version=1\nversion=2\n"
    body = json.loads(profbucket("labels", "--service", "shop", "--json", *place).check().text)
    assert body == {"types": ["cpu"], "labels": [{"key": "version", "values": ["1", "2"]}], "complete": True}
    assert profbucket("labels", "--service", "shop", "--type", "heap", *place).check().text == ""
    missing = profbucket("labels", "--service", "missing", *place)
    assert (missing.returncode, missing.text) == (1, "")


def test_tags_list_labels_of_samples_with_totals(place: list[str], tmp_path: Path) -> None:
    labels = [
        (Label(b"endpoint", text=b"/zip"),),
        (Label(b"endpoint", text=b"/cart"), Label(b"bytes", number=64)),
        (),
    ]
    samples = [Sample(stack("main"), (1, 10**9 * (n + 1)), own) for n, own in enumerate(labels)]
    file = tmp_path / "tags.pb.gz"
    file.write_bytes(encode(profile(*samples)))
    text = profbucket("tags", file).check().text
    assert text == (
        "endpoint: total 3s\n"
        "          2s 66.67%  /cart\n"
        "          1s 33.33%  /zip\n"
        "bytes: total 2s\n"
        "          2s   100%  64B\n"
    )
    assert json.loads(profbucket("tags", file, "--json").check().text)["tags"][0]["key"] == "endpoint"
    stored = profbucket("tags", *SHOP, *place).check().text
    assert stored == profbucket("tags", *OLD, *NEW).check().text


def test_a_flame_graph_is_a_file_that_needs_nothing_else(place: list[str], tmp_path: Path) -> None:
    for merge_format, begin in (("html", "<!DOCTYPE html>"), ("svg", "<svg")):
        file = tmp_path / f"flame.{merge_format}"
        profbucket("flame", *SHOP, "-o", file, "--format", merge_format, *place).check()
        text = file.read_text()
        assert begin.lower() in text[:200].lower()
        assert "main.priceCart" in text
        assert not re.search(r'(src|href)="(?!#|data:)', text)


def test_no_report_controls_the_terminal(tmp_path: Path) -> None:
    evil = "a\x1b[2Jb\rc\u202e"
    file = tmp_path / "evil.pb.gz"
    label = Label(evil.encode(), text=evil.encode())
    file.write_bytes(encode(profile(Sample(stack(evil), (1, 1), (label,)), comments=(evil.encode(),))))
    for command in (["top"], ["top", "--json"], ["tags"], ["tags", "--json"], ["top", "--base", str(file)]):
        output = profbucket(*command, file).check().text
        assert not [char for char in output if not char.isprintable() and char != "\n"], command
