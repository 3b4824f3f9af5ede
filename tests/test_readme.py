"""What README.md says is so."""

import os
import re
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from profbucket.cli.main import COMMANDS
from profbucket.limits import Limits
from profbucket.periods import CompactionPolicy
from tests.support.go_tool import GoPprof, run
from tests.support.paths import ROOT
from tests.support.serving import SCRIPTS, served

README = (ROOT / "README.md").read_text()
URL = "http://localhost:10100"


def console() -> list[tuple[str, str]]:
    """The commands that the README shows with their output, in order, each with what it prints."""
    blocks = re.findall(r"^```console\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    parts = [part for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE) if part]
    return [(command, output) for command, _, output in (part.partition("\n") for part in parts)]


def without_numbers(output: str) -> str:
    """*output* without what differs between two runs, or two makes of the test data."""
    return re.sub(r" +", " ", re.sub(r"[0-9a-f]{16,}|\d[\d:.TZ-]*", "#", output))


def gist(output: str) -> set[str]:
    """Of a report, what stays whatever the numbers are: its header, and the function that is slow."""
    header = r"^(File|Build ID|Type|Time|Duration|Showing nodes|service=shop type=\w+ (?:version=\S+ )?merged)"
    return {*re.findall(header, output, re.MULTILINE), *re.findall("main.priceCart", output)}


def test_every_command_prints_what_the_readme_shows(tmp_path: Path, go_pprof: GoPprof) -> None:
    """The commands work in their order, as a reader types them, and print what is written below them."""
    path = f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"
    commands = console()
    assert len(commands) > 12
    shown_id = re.search(r"shop/cpu/[\w.]+Z-[0-9a-f]{16}", commands[0][1])
    assert shown_id
    with served((tmp_path / "profiles").as_uri(), tmp_path / "log") as url:
        environment = {
            **go_pprof.go.environment,
            "PATH": path,
            "PROFBUCKET_URL": url,
            "PPROF_TMPDIR": str(tmp_path),
        }
        environment["PPROF_BINARY_PATH"] = str(tmp_path)
        real_id = shown_id[0]
        for command, shown in commands:
            typed = command.replace(".venv/bin/", "").replace(URL, url).replace(shown_id[0], real_id)
            done = run("sh", "-c", typed, cwd=ROOT, environment=environment).check()
            if found := re.search(r'"id": "(shop/cpu/[^"]+)"', done.text):
                real_id = found[1]
            if " -top " in command or " top " in command:
                assert gist(done.text) == gist(shown), command
            else:
                assert without_numbers(done.text) == without_numbers(shown), command


@pytest.mark.parametrize("name", [field.name for field in fields(Limits)])
def test_every_cap_is_in_the_table_with_its_default(name: str) -> None:
    default = getattr(Limits(), name)
    assert re.search(rf"^\| `{Limits.setting(name)}` \| `{default}` \| .+ \|$", README, re.MULTILINE)


def test_every_period_is_in_the_table_with_its_default() -> None:
    rows = re.findall(r"^\| (`PROFBUCKET_BLOCK_.+?`) \| (.+?) \| .+ \|$", README, re.MULTILINE)
    found = {
        name: default for row in rows for name, default in zip(*(one.split(", ") for one in row), strict=True)
    }
    assert found == {
        f"`PROFBUCKET_BLOCK_{name.upper()}`": f"`{default}`"
        for name, default in asdict(CompactionPolicy()).items()
    }


def test_every_setting_is_in_the_table() -> None:
    """All that config.py reads, but for what a platform sets."""
    source = (ROOT / "profbucket" / "config.py").read_text()
    read = set(re.findall(r'environ(?:\.get\(|, )"([A-Z_]+)"', source)) - {"K_SERVICE", "FUNCTION_TARGET"}
    assert "STORAGE_URL" in read
    rows = "\n".join(re.findall(r"^\| (`[A-Z_`, ]+`) \|", README, re.MULTILINE))
    assert {name for name in read if f"`{name}`" not in rows} == set()


def test_every_command_of_the_command_line_is_in_the_table() -> None:
    names = {command.split()[0] for command in COMMANDS}
    assert {name for name in names if not re.search(rf"^\| `profbucket {name}\b", README, re.MULTILINE)} == set()


def test_every_file_that_is_linked_is_there() -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_what_serve_prints_is_what_the_readme_shows() -> None:
    """The quickstart's first block has the commands that ``profbucket serve`` prints."""
    from profbucket.cli.server import Server
    from profbucket.config import Config

    server = Server("127.0.0.1", 10100, "file:///home/you/profbucket/profbucket-data")
    said = server.welcome(Config(server.storage_url), URL).splitlines()
    shown = README.splitlines()
    for line in said:
        # Where the program is, and how it is called, depends on who runs this.
        expected = re.sub(r"^  \S+ (push|top)", r"  .venv/bin/profbucket \1", line)
        expected = expected.replace(f"{ROOT}/", "")
        assert any(without_numbers(one) == without_numbers(expected) for one in shown), line
