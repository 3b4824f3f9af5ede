"""Run the scripts case-*.py of a folder against a collector on an empty directory, and print their verdicts.

``python -m tests.soak.run_cases DIR [NAME…]`` exits with 0 if every script does. Each script gets the collector's
URL as its argument, and in the environment PROFBUCKET (the command line) and GO_PPROF (google/pprof, built here).
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.soak.collector import CollectorProcess
from tests.support.go_tool import Go, find_go
from tests.support.serving import SCRIPTS

_CASE_TIMEOUT_SECONDS = 600


def build_pprof(go: Go, directory: Path) -> Path:
    """Build pprof from the toolchain's sources into *directory* and return the binary."""
    binary = directory / "pprof"
    go.run("build", "-o", str(binary), "cmd/pprof", GOFLAGS="").check()
    return binary


def run_case(case: Path, url: str, environment: Mapping[str, str]) -> tuple[int, str]:
    """Return the exit code of *case*, and what it printed."""
    try:
        done = subprocess.run(
            [sys.executable, case.name, url],
            cwd=case.parent,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_CASE_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return 124, f"{(error.stdout or b'').decode(errors='replace')}\nno end after {_CASE_TIMEOUT_SECONDS} s"
    return done.returncode, done.stdout.decode(errors="replace").strip()


def main(arguments: Sequence[str]) -> int:
    folder, names = Path(arguments[0]).resolve(), arguments[1:]
    cases = [case for case in sorted(folder.glob("case-*.py")) if not names or case.stem in names]
    if not cases:
        print(f"no case-*.py in {folder}")
        return 2
    wrong = 0
    with TemporaryDirectory() as temporary:
        directory = Path(temporary)
        environment = {
            **os.environ,
            "GO_PPROF": str(build_pprof(find_go(), directory)),
            "PROFBUCKET": str(SCRIPTS / "profbucket"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        collector = CollectorProcess(f"file://{directory}/profiles", directory / "log")
        try:
            collector.start()
            for case in cases:
                begin = time.monotonic()
                code, output = run_case(case, collector.url, environment)
                wrong += code != 0
                print(f"{case.stem}: exit {code}, {time.monotonic() - begin:.1f} s: {output}", flush=True)
        finally:
            collector.kill()
        if "Traceback" in (log := collector.log.read_text(errors="replace")):
            print(f"the collector logged a traceback:\n{log[-10_000:]}")
            wrong += 1
    print(f"{len(cases)} cases, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
