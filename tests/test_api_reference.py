"""docs/api.md matches the API: routes, parameters, statuses, limits, error codes and examples."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from profbucket.api.openapi import render
from profbucket.api.routes import ROUTES, Role
from profbucket.config import Config
from profbucket.errors import CODES
from profbucket.limits import Limits
from profbucket.model.refinement import Refinement
from profbucket.times import parse_time
from tests.support.console import mask_numbers, parse_console, run_console
from tests.support.go_tool import GoPprof
from tests.support.paths import ROOT
from tests.support.serving import served

REFERENCE = (ROOT / "docs" / "api.md").read_text()
OPENAPI: dict[str, Any] = json.loads(render(Config("memory:"), ROUTES[Role.COLLECTOR]))

# Each route has a section; aliases are named in the section of their route.
_PATH_PARAMETERS = {
    "/ID": "/{ids}",
    "PROJECT": "{project}",
    "PROFILE": "{profile_id}",
    "METHOD": "{method}",
    "ACTION": "{action}",
}


def _to_path(text: str) -> str:
    for shown, parameter in _PATH_PARAMETERS.items():
        text = text.replace(shown, parameter)
    return text


SECTIONS: dict[tuple[str, str], str] = {
    (method.lower(), _to_path(path)): text
    for method, path, text in re.findall(
        r"^### (GET|POST|PATCH) (\S+)\n(.*?)(?=^##)", REFERENCE, re.DOTALL | re.MULTILINE
    )
}
ALIASES = {
    "/merge",
    "/pyroscope/ingest",
    "/health",
    "/symbol",
    "/{path}/symbol",
    "/{path}/symbolz",
    "/",
    "/ui/{name}",
}
OPERATIONS: dict[tuple[str, str], dict[str, Any]] = {
    (method, path): operation
    for path, item in OPENAPI["paths"].items()
    for method, operation in item.items()
    if method != "parameters"
}


def parameters(operation: dict[str, Any]) -> dict[str, bool]:
    """Return an operation's query parameters by name, and whether each is required."""
    shared = OPENAPI["components"]["parameters"]
    listed = operation.get("parameters", [])
    resolved = [shared[one["$ref"].rpartition("/")[2]] if "$ref" in one else one for one in listed]
    return {one["name"]: one.get("required", False) for one in resolved if one["name"] != "others"}


def test_every_route_has_a_section() -> None:
    assert set(SECTIONS) == {route for route in OPERATIONS if route[1] not in ALIASES} | {("post", "/symbolz")}


@pytest.mark.parametrize("route", SECTIONS, ids=" ".join)
def test_a_section_lists_the_parameters_and_the_errors_of_its_route(route: tuple[str, str]) -> None:
    operation = OPERATIONS[route]
    rows = re.findall(r"^\| `([\w-]+)` \| (yes)? ?\|", SECTIONS[route], re.MULTILINE)
    expected = parameters(operation)
    if "[refinements](#refinements)" in SECTIONS[route]:
        assert [name for name in expected if name in Refinement.names()] == Refinement.names()
        expected = {name: required for name, required in expected.items() if name not in Refinement.names()}
    if "/merge" in route[1] or "/flame" in route[1] or "/tags" in route[1]:
        expected["type"] = True  # a missing type is not a malformed request but one that cannot be merged: 405
    assert {name: bool(required) for name, required in rows} == expected
    errors = re.search(r"^Errors: (.+)\.$", SECTIONS[route], re.MULTILINE)
    statuses = errors[1].split(", ") if errors else []
    assert statuses == sorted(status for status in operation["responses"] if status >= "400")


def test_every_refinement_is_explained() -> None:
    section = re.search(r"^### Refinements\n(.*?)^##", REFERENCE, re.DOTALL | re.MULTILINE)
    assert section
    assert re.findall(r"^\| `(\w+)` \|", section[1], re.MULTILINE) == Refinement.names()


def test_every_status_is_explained() -> None:
    rows = re.findall(r"^\| (\d{3}) \|", REFERENCE, re.MULTILINE)
    assert rows == sorted(
        {status for one in OPERATIONS.values() for status in one["responses"] if status >= "400"}
    )


def test_every_error_code_is_listed() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|$", REFERENCE.partition("| error code |")[2], re.MULTILINE)
    assert dict(rows) == CODES


def test_every_example_of_a_time_is_valid() -> None:
    section = re.search(r"^### Times\n(.*?)^###", REFERENCE, re.DOTALL | re.MULTILINE)
    assert section
    rows = re.findall(r"^\| [^`|]+ \| (`.+`) \|$", section[1], re.MULTILINE)
    examples = [text for row in rows for text in re.findall("`(.+?)`", row)]
    assert len(examples) > len(rows) > 4
    for text in examples:
        parse_time(text, time.time_ns())


def test_every_setting_is_a_limit() -> None:
    settings = set(re.findall(r"PROFBUCKET_MAX_[A-Z_]+", REFERENCE))
    assert len(settings) > 5
    assert settings <= {Limits.setting(name) for name in Limits.__slots__}


def test_every_example_prints_what_the_reference_shows(tmp_path: Path, go_pprof: GoPprof) -> None:
    assert len(parse_console(REFERENCE)) > 12
    with served((tmp_path / "profiles").as_uri(), tmp_path / "log") as url:
        for command, expected, actual in run_console(REFERENCE, url, go_pprof, tmp_path):
            assert mask_numbers(actual) == mask_numbers(expected), command
