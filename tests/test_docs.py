"""The documents agree with the code: links, tables and figures."""

import re
import subprocess
from dataclasses import fields
from pathlib import Path
from xml.etree import ElementTree

import pytest

from profbucket.errors import CODES
from profbucket.limits import Limits
from tests.support.paths import ROOT
from tests.test_layering import TABLE

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "bench" / "RESULTS.md"])
FIGURES = sorted(ROOT.glob("docs/*.svg"))


def _anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of *text*."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_existing_files_and_headings(document: Path) -> None:
    broken = []
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", document.read_text()):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if not target.exists() or (anchor and anchor not in _anchors(target.read_text())):
            broken.append(link)
    assert broken == []


def test_the_packages_of_design_md_are_those_of_the_layering_table() -> None:
    section = (ROOT / "docs" / "design.md").read_text().partition("\n## Packages\n")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^\| `([\w.]+)` \|", section, re.MULTILINE)) == sorted(TABLE)


@pytest.mark.parametrize("figure", FIGURES, ids=lambda path: path.name)
def test_figures_have_a_description_and_a_dark_mode(figure: Path) -> None:
    svg = ElementTree.parse(figure).getroot()
    names = {element.tag.rpartition("}")[2] for element in svg.iter()}
    assert {"title", "desc"} <= names
    assert "prefers-color-scheme: dark" in figure.read_text()


OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
SOURCES = "\n".join(path.read_text() for path in sorted((ROOT / "profbucket").rglob("*.py")))


def test_error_codes_in_the_troubleshooting_table_exist() -> None:
    codes = set(re.findall(r"\b\d{3} `([a-z_…]+)`", OPERATIONS))
    assert "missing_api_key" in codes
    limits = {Limits.code(field.name) for field in fields(Limits)}
    assert codes - {"max_…_exceeded"} <= limits | set(CODES)


@pytest.mark.parametrize("heading", ["Python agents", "Scraping"])
def test_messages_in_operations_md_are_those_of_the_code(heading: str) -> None:
    """Compare the longest part of each message without placeholders."""
    section = OPERATIONS.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    table = section.partition("| message |")[2]
    messages = [
        text for row in re.findall(r"^\| (.*?) \|", table, re.MULTILINE) for text in re.findall("`(.+?)`", row)
    ]
    assert len(messages) >= 5
    flat = re.sub(r'"\s*f?"', "", SOURCES)  # join the parts of long string literals
    missing = [message for message in messages if max(message.split("…"), key=len).strip() not in flat]
    assert missing == []


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/design.md", "docs/operations.md"])
def test_files_that_a_document_names_exist(name: str) -> None:
    named = re.findall(r"`((?:[\w.-]+/)*[\w.-]+\.(?:py|tf|json|md|toml|txt))`", (ROOT / name).read_text())
    assert named
    existing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [f"/{path}" for path in existing.splitlines()]
    local = {"backend.tf", "terraform.tfvars"}  # of the reader
    missing = {file for file in named if not any(path.endswith(f"/{file}") for path in paths)} - local
    assert {file for file in missing if "<" not in file and not file.startswith("_/")} == set()
