"""The files that ship are what the sources build."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT

WEB = ROOT / "web"


def test_the_files_that_ship_are_what_the_sources_build(tmp_path: Path) -> None:
    """Byte for byte. If it fails: `make ui`, and commit what it writes."""
    subprocess.run(["npm", "run", "--silent", "build", "--", str(tmp_path)], cwd=WEB, check=True, timeout=300)
    built = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    ships = ROOT / "profbucket" / "ui"
    shipped = {path.relative_to(ships): path.read_bytes() for path in ships.rglob("*") if path.is_file()}
    assert built.keys() == shipped.keys()
    assert [path for path, content in built.items() if shipped[path] != content] == []


@pytest.mark.parametrize("script", ["types", "lint"])
def test_the_sources_have_the_types_and_the_format_they_should(script: str) -> None:
    """`npm --prefix web run format` does the latter."""
    done = subprocess.run(["npm", "run", "--silent", script], cwd=WEB, capture_output=True, text=True, check=False)
    assert (done.stdout + done.stderr, done.returncode) == ("", 0)


def test_every_tool_is_pinned() -> None:
    package, lock = (json.loads((WEB / name).read_text()) for name in ("package.json", "package-lock.json"))
    assert all(re.fullmatch(r"[\d.]+", version) for version in package["devDependencies"].values())
    assert "dependencies" not in package
    packages = [one for name, one in lock["packages"].items() if name]
    assert all("integrity" in one and "resolved" not in one for one in packages)
