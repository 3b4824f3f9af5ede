"""Plain English in source, docs and messages: no odd words, docstrings that start with a verb or name the thing.

CONTRIBUTING.md has the rules; this module checks those that a pattern can check.
"""

import ast
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator

import pytest

from tests.support.paths import ROOT

WORDS = re.compile(
    r"\b(anew|beside|thereby|how-manieth|of ours|so many|whoever|whosoever|where there is none|"
    r"(is|are|was|were) told|(is|are) none of|stands? in)\b",
    re.IGNORECASE,
)
# No docstring starts like this.
OPENINGS = re.compile(
    r"(What|Whatever|Where|Whether|Who|Whose|Which|How|The same|Those|These|It|They|Of|Otherwise)\b"
)
# A function's docstring starts with a verb; that of a property, a fixture or a test may be a noun phrase.
NOUN_OPENINGS = re.compile(r"(The|A|An|All|One|Each|Every|No|Nothing|Its)\b")
NOUN_PHRASE_ALLOWED = re.compile(r"property|fixture|overload|\.setter")
SUFFIXES = (".py", ".md", ".tf", ".hcl", ".ts", ".tsx", ".mjs", ".css", ".html", ".toml", ".proto", ".go", ".svg")
NAMES = ("Makefile", "Dockerfile", ".ci/run")
GENERATED = re.compile(r"_pb2\.pyi?$|^profbucket/ui/|^tests/data/[^/]+/|^tests/test_language\.py$")


def _groups() -> dict[str, list[str]]:
    """Return the files to check, by the first two folders of their paths."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    groups = defaultdict(list)
    for path in listed.split("\n"):
        if (path.endswith(SUFFIXES) or path in NAMES) and not GENERATED.search(path) and (ROOT / path).exists():
            folder = path.rpartition("/")[0]
            groups["/".join(folder.split("/")[:2]) or "."].append(path)
    return groups


GROUPS = _groups()


def odd_words(text: str) -> Iterator[str]:
    """Yield the number and beginning of each line of *text* that has an odd word, with the word."""
    for number, line in enumerate(text.splitlines(), 1):
        if match := WORDS.search(line):
            yield f"{number}: {match[0]!r} in {line.strip()[:100]}"


def odd_openings(source: str) -> Iterator[str]:
    """Yield the first line of each docstring in *source* that starts neither with a verb nor with the thing."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        text = ast.get_docstring(node) or ""
        if OPENINGS.match(text) or (_needs_verb(node) and NOUN_OPENINGS.match(text)):
            yield text.splitlines()[0]


def _needs_verb(node: ast.AST) -> bool:
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("test_"):
        return False
    return not any(NOUN_PHRASE_ALLOWED.search(ast.unparse(decorator)) for decorator in node.decorator_list)


@pytest.mark.parametrize("folder", sorted(GROUPS))
def test_no_odd_words(folder: str) -> None:
    found = [f"{path}:{line}" for path in GROUPS[folder] for line in odd_words((ROOT / path).read_text())]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("folder", sorted(GROUPS))
def test_docstrings_start_with_a_verb_or_a_noun(folder: str) -> None:
    sources = {path: (ROOT / path).read_text() for path in GROUPS[folder] if path.endswith(".py")}
    found = [f"{path}: {line}" for path, source in sources.items() for line in odd_openings(source)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('def f():\n    """What f returns."""', ["What f returns."]),
        ('def f():\n    """The sum."""', ["The sum."]),
        ('def f():\n    """Return the sum."""', []),
        ('class C:\n    """The sum of two numbers."""', []),
        ('class C:\n    """Whether it is so."""', ["Whether it is so."]),
        ('@property\ndef f(self):\n    """The sum."""', []),
        ('def test_f():\n    """A sum is a number."""', []),
    ],
)
def test_openings_are_recognized(source: str, expected: list[str]) -> None:
    assert list(odd_openings(source)) == expected


def test_odd_words_are_recognized() -> None:
    assert list(odd_words("plain\nwhich is made anew")) == ["2: 'anew' in which is made anew"]
