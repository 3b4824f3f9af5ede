"""Limit the memory of a process and its children, and measure its peak.

A control group (version 2 or 1) kills processes that exceed its limit, as a cloud does. Creating one takes rights
that a container often has and a developer's account lacks. Without one, only the peak is measured: the kernel's
high-water mark of each process, read at the end, which unlike polling cannot miss a peak. A limit of address space
(``ulimit -v``) is no substitute: threads and allocators reserve much memory that they never use.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.serving import SCRIPTS

_CGROUPS = Path("/sys/fs/cgroup")
_SCRIPT = """#!/bin/sh
echo $$ > '{pid}'
echo $$ > '{procs}'
exec '{program}' "$@"
"""


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """Programs in *scripts* run with limited memory; *group* is ``None`` if there is no limit."""

    scripts: Path
    group: Path | None

    def count_killed(self) -> int:
        """Return how many processes were killed for exceeding the limit; 0 if the system does not count."""
        for name in ("memory.events", "memory.oom_control"):
            if self.group and (file := self.group / name).exists():
                events = dict(line.split() for line in file.read_text().splitlines())
                return int(events.get("oom_kill", 0))
        return 0

    def measure_peak(self) -> int:
        """Return the sum of the processes' peaks of memory, in bytes."""
        return _measure_peak(int((self.scripts / "pid").read_text()))


@contextmanager
def limit_memory(size: int, directory: Path) -> Iterator[MemoryLimit]:
    """Limit the programs that serve, started from *directory*, to *size* bytes, if this account may set limits."""
    directory.mkdir()
    group = _create_group(size)
    procs = group / "cgroup.procs" if group else Path("/dev/null")
    for name in ("functions-framework", "profbucket"):
        script = directory / name
        script.write_text(_SCRIPT.format(pid=directory / "pid", procs=procs, program=SCRIPTS / name))
        script.chmod(0o755)
    try:
        yield MemoryLimit(directory, group)
    finally:
        if group:
            group.rmdir()


def _create_group(size: int) -> Path | None:
    for parent, limit in ((_CGROUPS, "memory.max"), (_CGROUPS / "memory", "memory.limit_in_bytes")):
        group = parent / f"profbucket-test-{os.getpid()}"
        if not (parent / "cgroup.procs").exists():
            continue
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / limit).write_text(str(size))
        except OSError:  # the group cannot limit memory
            group.rmdir()
        else:
            return group
    return None


def _measure_peak(process_id: int) -> int:
    status = Path(f"/proc/{process_id}/status").read_text()
    peak = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM"))
    children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text()
    return peak + sum(_measure_peak(int(child)) for child in children.split())
