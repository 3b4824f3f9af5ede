"""A bound on the memory of a process and of all that it starts, and how much they took at most.

A control group (version 2 or 1) is a bound that kills, as a cloud's is. Making one takes rights that a container
often has and a developer's account does not. Without it the kernel's high-water mark of each process is read at
the end: it cannot miss a peak, as polling would. Limits of address space (``ulimit -v``) are no substitute: most
of what threads and allocators reserve they never touch.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.serving import SCRIPTS

_ROOT = Path("/sys/fs/cgroup")
_ENTER = """#!/bin/sh
echo $$ > '{pid}'
echo $$ > '{procs}'
exec '{program}' "$@"
"""


@dataclass(frozen=True, slots=True)
class Jail:
    """Programs in *scripts* run inside. *group* is ``None`` where nothing could be bounded."""

    scripts: Path
    group: Path | None

    def killed(self) -> int:
        """How many processes inside were killed for want of memory; 0 where nobody counts."""
        for name in ("memory.events", "memory.oom_control"):
            if self.group and (file := self.group / name).exists():
                events = dict(line.split() for line in file.read_text().splitlines())
                return int(events.get("oom_kill", 0))
        return 0

    def peak(self) -> int:
        """The most bytes that what runs inside has had in memory, each process at its own worst moment."""
        return _peak(int((self.scripts / "pid").read_text()))


@contextmanager
def jail(size: int, directory: Path) -> Iterator[Jail]:
    """A bound of *size* bytes, where this account may set one, for functions-framework as it is in *directory*."""
    directory.mkdir()
    group = _make_group(size)
    procs = group / "cgroup.procs" if group else Path("/dev/null")
    name = "functions-framework"
    script = directory / name
    script.write_text(_ENTER.format(pid=directory / "pid", procs=procs, program=SCRIPTS / name))
    script.chmod(0o755)
    try:
        yield Jail(directory, group)
    finally:
        if group:
            group.rmdir()


def _make_group(size: int) -> Path | None:
    for parent, limit in ((_ROOT, "memory.max"), (_ROOT / "memory", "memory.limit_in_bytes")):
        group = parent / f"profbucket-test-{os.getpid()}"
        if not (parent / "cgroup.procs").exists():
            continue
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / limit).write_text(str(size))
        except OSError:  # a group without a bound on memory
            group.rmdir()
        else:
            return group
    return None


def _peak(process_id: int) -> int:
    status = Path(f"/proc/{process_id}/status").read_text()
    own = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM"))
    children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text()
    return own + sum(_peak(int(child)) for child in children.split())
