"""Plain English in source, docs and messages: no odd words, and docstrings that start with a verb."""

import ast
import re
import subprocess
from collections import defaultdict

import pytest

from tests.support.paths import ROOT

WORDS = re.compile(
    r"\b(anew|beside|thereby|how-manieth|of ours|so many|whoever|whosoever|where there is none|"
    r"(is|are|was|were) told|(is|are) none of|stands? in)\b",
    re.IGNORECASE,
)
OPENINGS = re.compile(r"(What|Where|Whether|Who|Whose|The same)\b")
SUFFIXES = (".py", ".md", ".tf", ".hcl", ".ts", ".tsx", ".mjs", ".css", ".html", ".toml", ".proto", ".go", ".svg")
NAMES = ("Makefile", "Dockerfile", ".ci/run")
GENERATED = re.compile(r"_pb2\.pyi?$|^profbucket/ui/|^tests/data/|^tests/test_language\.py$")


def _groups() -> dict[str, list[str]]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    groups = defaultdict(list)
    for path in listed.split("\n"):
        if (path.endswith(SUFFIXES) or path in NAMES) and not GENERATED.search(path) and (ROOT / path).exists():
            folder = path.rpartition("/")[0]
            groups["/".join(folder.split("/")[:2]) or "."].append(path)
    return groups


GROUPS = _groups()


@pytest.mark.parametrize("folder", sorted(GROUPS))
def test_no_odd_words(folder: str) -> None:
    found = [
        f"{path}:{number}: {match[0]!r} in {line.strip()[:100]}"
        for path in GROUPS[folder]
        for number, line in enumerate((ROOT / path).read_text().splitlines(), 1)
        if (match := WORDS.search(line))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("folder", sorted(GROUPS))
def test_docstrings_start_with_a_verb_or_a_noun(folder: str) -> None:
    """Not with "What …" or "Whether …": see CONTRIBUTING.md."""
    found = []
    for path in GROUPS[folder]:
        if path.endswith(".py"):
            for node in ast.walk(ast.parse((ROOT / path).read_text())):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    text = ast.get_docstring(node) or ""
                    if OPENINGS.match(text):
                        found.append(f"{path}: {text.splitlines()[0]}")
    assert not found, "\n".join(found)
