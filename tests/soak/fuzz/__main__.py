"""Mutation fuzzing of a collector over a directory: posts, batches, objects, their metadata, blocks and the index.

``python -m tests.soak.fuzz --seconds 600 [--seed TEXT] [--round N] [--keep-going] [--out DIRECTORY]``

A round posts mutated profiles, or damages what is stored, and then asks every question over HTTP and by the
command line. It fails if an answer is a 5xx that the damage does not explain, if a log or a command shows a
traceback, if a process takes more than 700 MB, if /healthz does not answer, if an answer changes by compaction or
reindexing, or if damage of one service changes an answer about another.

A round is determined by the seed and its number. The files to reproduce a failure are in --out.
"""

import argparse
import secrets
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from tests.soak.fuzz.checks import Finding
from tests.soak.fuzz.rounds import run_round
from tests.soak.fuzz.session import Report, Session


def fuzz(seconds: float, seed: str, out: Path, *, only: int | None = None, keep_going: bool = False) -> int:
    """Run rounds for *seconds*, or the round *only*; return the number of different failures."""
    signatures = Counter[str]()
    with (
        TemporaryDirectory(prefix="profbucket-fuzz-") as temporary,
        Session(Path(temporary)).running() as session,
    ):
        end = time.monotonic() + seconds
        number = only or 0
        while time.monotonic() < end and (keep_going or not signatures):
            report = run_round(session, seed, number)
            for finding in report.findings:
                signatures[finding.signature] += 1
                if signatures[finding.signature] == 1:
                    folder = out / f"{seed}-{number}-{len(signatures)}"
                    command = f"python -m tests.soak.fuzz --seed {seed} --round {number}"
                    _write_reproducer(folder, command, report, finding, session.kept)
                    print(f"FAILED seed {seed!r} round {number} step {finding.step!r}")
                    shown = finding.detail[-400:] if "Traceback" in finding.detail else finding.detail[:400]
                    print(f"  {finding.signature}: {shown!r}\n  reproducer: {folder}", flush=True)
            if report.findings and keep_going:
                session.restart()
            if only is not None:
                break
            number += 1
        for name, count in sorted(session.counts.items()):
            print(f"{name}: {count}")
        print(f"slowest answer of /healthz: {session.slowest_health:.2f} s")
    for signature, count in signatures.most_common():
        print(f"{count} times: {signature}")
    print(f"seed {seed!r}: {len(signatures)} different failures")
    return len(signatures)


def _write_reproducer(folder: Path, command: str, report: Report, finding: Finding, storage: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = [
        command,
        f"claim: {finding.signature}",
        f"step: {finding.step}",
        *report.notes,
        "requests/ holds what was sent, in order: nc localhost PORT <requests/0001.http",
        finding.detail,
    ]
    (folder / "finding.txt").write_text("\n".join(text) + "\n")
    (folder / "requests").mkdir(exist_ok=True)
    for i, request in enumerate(report.requests):
        (folder / "requests" / f"{i:04}.http").write_bytes(request)
    if storage.exists():
        shutil.copytree(storage, folder / "storage", dirs_exist_ok=True)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", default=secrets.token_hex(4))
    parser.add_argument("--round", type=int, help="run this round only")
    parser.add_argument("--keep-going", action="store_true", help="go on after a failure, and list all")
    parser.add_argument("--out", type=Path, default=Path(gettempdir()) / "profbucket-fuzz-findings")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and end the processes
    found = fuzz(options.seconds, options.seed, options.out, only=options.round, keep_going=options.keep_going)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
