"""The built files are those that the sources build."""

import json
import re
import subprocess
from pathlib import Path

from tests.support.paths import ROOT

WEB = ROOT / "web"
UI = ROOT / "profbucket" / "ui"


def test_the_built_files_are_those_that_the_sources_build(tmp_path: Path) -> None:
    """Byte for byte. If this fails, run `make ui` and commit the result."""
    subprocess.run(["npm", "run", "--silent", "build", "--", str(tmp_path)], cwd=WEB, check=True, timeout=300)
    built = _files(tmp_path)
    committed = _files(UI)
    assert built.keys() == committed.keys()
    assert [path for path, content in built.items() if committed[path] != content] == []


def _files(root: Path) -> dict[Path, bytes]:
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_every_tool_is_pinned() -> None:
    package, lock = (json.loads((WEB / name).read_text()) for name in ("package.json", "package-lock.json"))
    assert all(re.fullmatch(r"[\d.]+", version) for version in package["devDependencies"].values())
    assert "dependencies" not in package
    dependencies = [entry for name, entry in lock["packages"].items() if name]
    assert all("integrity" in entry and "resolved" not in entry for entry in dependencies)
