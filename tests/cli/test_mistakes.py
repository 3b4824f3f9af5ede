"""Mistakes of new users: each is answered by one sentence with the value and the setting."""

import json
from pathlib import Path

import pytest

from tests.support.command_line import profbucket
from tests.support.paths import DATA

CPU = DATA / "shop-0.0.1" / "cpu-1.pb.gz"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("services", "--url", "http://localhost:1"),
            "http://localhost:1 cannot be reached: Connection refused; "
            "set the collector's URL with --url or PROFBUCKET_URL",
        ),
        (("top",), "name FILEs or IDs, or set both --service and --type"),
        (("top", "--service", "shop"), "name FILEs or IDs, or set both --service and --type"),
        (("completion",), "the following arguments are required: bash|zsh|fish"),
        (
            ("run", "--url", "http://localhost:1", "--service", "s", "--", "no-such-program", "x"),
            "command not found: 'no-such-program'; write the program and its arguments after --",
        ),
        (("fsck", "--storage", "/data"), "STORAGE_URL='/data' is a path; write file:///data"),
    ],
)
def test_a_command_line(arguments: tuple[str, ...], message: str) -> None:
    result = profbucket(*arguments)
    assert result.returncode != 0
    assert result.stderr.splitlines()[-1].partition(": ")[2] == message


def test_https_for_a_collector_that_speaks_http(collector: str) -> None:
    url = collector.replace("http:", "https:")
    result = profbucket("services", "--url", url)
    assert f"{url} cannot be reached: it does not speak TLS; write http:// instead of https://" in result.stderr


@pytest.mark.parametrize(
    ("labels", "advice"),
    [((), "check the names of service and type"), (("--label", "version=1"), "drop labels")],
)
def test_a_query_that_finds_nothing(collector: str, labels: tuple[str, ...], advice: str) -> None:
    result = profbucket("find", "--service", "no-such-service", *labels, "--url", collector)
    assert result.stderr.rstrip().endswith(f"has no profiles; widen the range or {advice}")


def test_a_list_of_targets_that_is_not_json(tmp_path: Path) -> None:
    targets = tmp_path / "targets.json"
    targets.write_text("http://localhost:6060")
    assert f"{targets}: the targets are not valid JSON" in profbucket("scrape", "--targets", targets).stderr


def test_an_image_is_written_to_a_file_with_the_name_of_one(tmp_path: Path) -> None:
    image, page, other = tmp_path / "flame.svg", tmp_path / "flame.html", tmp_path / "page.svg"
    profbucket("flame", CPU, "-o", image).check()
    profbucket("flame", CPU, "-o", page).check()
    profbucket("flame", CPU, "-o", other, "--format", "html").check()
    assert image.read_text().startswith("<svg")
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert other.read_text().startswith("<!DOCTYPE html>")


def test_help_says_which_options_are_required() -> None:
    assert "Service of the profiles. [required]" in profbucket("push", "--help").check().text


def test_help_of_a_group_describes_it() -> None:
    assert profbucket("key", "--help").check().text.splitlines()[2] == "Make API keys."


@pytest.mark.parametrize("keys", ["pb_secret", json.dumps({})])
def test_keys_that_are_no_list_of_entries(keys: str, tmp_path: Path) -> None:
    result = profbucket("serve", "--port", "0", "--storage", tmp_path.as_uri(), PROFBUCKET_KEYS=keys)
    assert "PROFBUCKET_KEYS" in result.stderr
    assert "`profbucket key create`" in result.stderr
    assert keys not in result.stderr
