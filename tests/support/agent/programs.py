"""Programs that run the agent in a process of their own."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.support.go_tool import Run
from tests.support.paths import ROOT

SCRIPTS = Path(sysconfig.get_path("scripts"))
TIMEOUT = 120.0  # seconds; far more than any takes


def environment(**settings: str) -> dict[str, str]:
    """The tests' own, without what it says of a collector or an agent."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PROFBUCKET_", "PYTHON"))}
    return {**kept, "PYTHONPATH": str(ROOT), **settings}


def python(text: str, *arguments: str, cwd: Path = ROOT, **settings: str) -> Run:
    """Run *text* as a program to its end."""
    return program([sys.executable, "-c", text, *arguments], cwd=cwd, **settings)


def program(command: list[str], *, cwd: Path = ROOT, **settings: str) -> Run:
    done = subprocess.run(
        command, cwd=cwd, env=environment(**settings), capture_output=True, check=False, timeout=TIMEOUT
    )
    return Run(tuple(command), done.returncode, done.stdout, done.stderr.decode(errors="replace"))
