"""docs/configuration.md lists every setting with its default."""

import re
from dataclasses import asdict

import pytest

from profbucket.cli.options import DEFAULT_URL
from profbucket.limits import Limits
from profbucket.periods import CompactionPolicy
from profbucket.storage.open import BACKENDS
from tests.support.paths import ROOT

TEXT = (ROOT / "docs" / "configuration.md").read_text()


@pytest.mark.parametrize("name", Limits.names())
def test_every_limit_is_in_the_table(name: str) -> None:
    default = getattr(Limits(), name)
    assert re.search(rf"^\| `{Limits.setting(name)}` \| `{default}` \| .+ \|$", TEXT, re.MULTILINE)


def test_the_dropped_labels_are_in_the_table() -> None:
    assert f"The default is `{','.join(Limits().dropped_labels)}`." in TEXT


def test_every_period_is_in_the_table() -> None:
    rows = re.findall(r"^\| (`PROFBUCKET_BLOCK_.+?`) \| (.+?) \| .+ \|$", TEXT, re.MULTILINE)
    defaults = {
        name: default for row in rows for name, default in zip(*(cell.split(", ") for cell in row), strict=True)
    }
    assert defaults == {
        f"`PROFBUCKET_BLOCK_{name.upper()}`": f"`{default}`"
        for name, default in asdict(CompactionPolicy()).items()
    }


def test_every_setting_is_in_the_table() -> None:
    """All that config.py reads, except what a platform sets."""
    source = (ROOT / "profbucket" / "config.py").read_text()
    read = set(re.findall(r'environ(?:\.get\(|, )"([A-Z_]+)"', source)) - {"K_SERVICE", "FUNCTION_TARGET"}
    assert "STORAGE_URL" in read
    rows = "\n".join(re.findall(r"^\| (`[A-Z_`, ]+`) \|", TEXT, re.MULTILINE))
    assert {name for name in read if f"`{name}`" not in rows} == set()


def test_the_settings_of_the_command_line_are_in_the_table() -> None:
    assert f"| `PROFBUCKET_URL` | `{DEFAULT_URL}` |" in TEXT
    assert "| `PROFBUCKET_KEY` |" in TEXT


def test_every_storage_is_in_the_table_with_its_extra() -> None:
    for scheme, (_, extra) in BACKENDS.items():
        assert re.search(rf"^\| `{scheme}:[^|]*\| [^|]+ \| `{extra or 'server'}` \|", TEXT, re.MULTILINE), scheme


def test_every_extra_is_described() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    table = re.search(r"^\[project.optional-dependencies\]\n(.*?)^\[project", pyproject, re.MULTILINE | re.DOTALL)
    assert table
    for extra in re.findall(r"^(\w+) = \[", table[1], re.MULTILINE):
        assert f"`pip install 'profbucket[{extra}]'`" in TEXT
