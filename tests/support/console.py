"""The commands that a document shows in ``console`` blocks, each with its output, and a way to run them."""

import os
import re
from pathlib import Path

from tests.support.go_tool import GoPprof, run
from tests.support.paths import ROOT
from tests.support.serving import SCRIPTS

URL = "http://localhost:10100"  # the collector in documents

_PROFILE_ID = r"shop/cpu/[\w.]+Z-[0-9a-f]{16}"


def parse_console(text: str) -> list[tuple[str, str]]:
    """Return the commands in *text*, in order, each with its output."""
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    parts = [part for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE) if part]
    return [(command, output) for command, _, output in (part.partition("\n") for part in parts)]


def run_console(text: str, url: str, go_pprof: GoPprof, directory: Path) -> list[tuple[str, str, str]]:
    """Run the commands in *text* against the collector at *url*; return command, expected and actual output.

    The first profile id in *text* is replaced by the first one that a command prints: it differs between makes of
    the test data.
    """
    environment = {
        **go_pprof.go.environment,
        "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}",
        "PROFBUCKET_URL": url,
        "PPROF_TMPDIR": str(directory),
        "PPROF_BINARY_PATH": str(directory),
    }
    documented_id = re.search(_PROFILE_ID, text)
    assert documented_id
    actual_id = ""
    results = []
    for command, expected in parse_console(text):
        line = command.replace(".venv/bin/", "").replace(URL, url).replace(documented_id[0], actual_id)
        actual = run("sh", "-c", line, cwd=ROOT, environment=environment).check().text
        if not actual_id and (match := re.search(_PROFILE_ID, actual)):
            actual_id = match[0]
        results.append((command, expected, actual))
    return results


def mask_numbers(output: str) -> str:
    """Return *output* without what differs between two runs, or two makes of the test data."""
    return re.sub(r" +", " ", re.sub(r"[0-9a-f]{16,}|\d[\d:.TZ-]*", "#", output))
