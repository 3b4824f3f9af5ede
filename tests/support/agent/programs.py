"""Runs of programs with the agent, each in its own process."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.support.go_tool import Run
from tests.support.paths import ROOT

SCRIPTS = Path(sysconfig.get_path("scripts"))
_TIMEOUT_SECONDS = 120.0  # far more than any program takes


def environment(**settings: str) -> dict[str, str]:
    """Return the environment of the tests, updated with *settings* and without those of a collector or agent."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PROFBUCKET_", "PYTHON"))}
    return {**inherited, "PYTHONPATH": str(ROOT), **settings}


def python(text: str, *arguments: str, cwd: Path = ROOT, **settings: str) -> Run:
    """Run *text* as a Python program until it exits."""
    return program([sys.executable, "-c", text, *arguments], cwd=cwd, **settings)


def program(command: list[str], *, cwd: Path = ROOT, **settings: str) -> Run:
    """Run *command* until it exits."""
    done = subprocess.run(
        command, cwd=cwd, env=environment(**settings), capture_output=True, check=False, timeout=_TIMEOUT_SECONDS
    )
    return Run(tuple(command), done.returncode, done.stdout, done.stderr.decode(errors="replace"))
