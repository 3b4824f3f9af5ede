"""The accuracy of the agent: profiles compared with the program's own clocks and another profiler."""

import json
import re
import sys
from pathlib import Path

import pytest

from tests.support.agent.programs import SCRIPTS, program
from tests.support.go_tool import GoPprof
from tests.support.paths import ROOT

BURN = ROOT / "tests" / "programs" / "burn.py"
WORK = ("sixty", "thirty", "ten")
SECONDS = "4"


def percentages(spent: dict[str, float]) -> dict[str, float]:
    """Return the share of each function, in percent."""
    total = sum(spent[name] for name in WORK)
    return {name: 100 * spent[name] / total for name in WORK}


# Runs a program under the agent. Its arguments are the collector, the service, and the program with its arguments.
UNDER_AGENT = (
    "import sys, runpy; from profbucket import agent;"
    "agent.start(sys.argv.pop(1), sys.argv.pop(1), every=1.5, seconds=1.5);"
    "sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"
)


def thread_percentages(tags: str) -> dict[str, float]:
    """Return the shares of the threads in the output of ``pprof -tags``."""
    return percentages({match[2]: float(match[1]) for match in re.finditer(r"\(\s*([\d.]+)%\): (\w+)", tags)})


@pytest.fixture(scope="session")
def burnt(collector: str) -> dict[str, float]:
    """Run the program under the agent, while a test runs alone; return the percentages by its own clocks."""
    done = program([sys.executable, "-c", UNDER_AGENT, collector, "burn", str(BURN), SECONDS]).check()
    assert done.stderr == ""
    return percentages(json.loads(done.text))


@pytest.mark.alone
def test_cpu_percentages_match_the_threads_clocks(
    burnt: dict[str, float], collector: str, go_pprof: GoPprof
) -> None:
    """By function and by thread, within 3 points. A sleeping thread has no CPU time."""
    url = f"{collector}/merge?service=burn&type=cpu&from=now-1h"
    top = go_pprof("-top", "-cum", "-nodefraction=0", url).check().text
    cum = {match[2]: float(match[1]) for match in re.finditer(r"([\d.]+)%\s+__main__\.(\w+)$", top, re.MULTILINE)}
    threads = thread_percentages(go_pprof("-tags", url).check().text)
    assert percentages(cum) == pytest.approx(burnt, abs=3)
    assert threads == pytest.approx(burnt, abs=3)
    assert burnt == pytest.approx({"sixty": 60, "thirty": 30, "ten": 10}, abs=3)
    assert cum.get("asleep", 0) < 0.5


def test_total_cpu_time_matches_the_programs_clocks(
    burnt: dict[str, float], collector: str, go_pprof: GoPprof
) -> None:
    """Except for the time between two profiles."""
    top = go_pprof("-top", "-unit=ms", f"{collector}/merge?service=burn&type=cpu&from=now-1h").check().text
    total = re.search(r"Total samples = (\d+)", top)
    assert total
    assert float(SECONDS) * 850 < float(total[1]) < float(SECONDS) * 1200


def test_a_sleeping_thread_is_in_the_wall_profile(
    burnt: dict[str, float], collector: str, go_pprof: GoPprof
) -> None:
    url = f"{collector}/merge?service=burn&type=wall&from=now-1h"
    assert "__main__.asleep" in go_pprof("-top", "-cum", url).check().text
    threads = go_pprof("-top", "-cum", "-sample_index=threads", url).check().text
    assert "__main__.asleep" in threads


def test_functions_have_files_and_lines(burnt: dict[str, float], collector: str, go_pprof: GoPprof) -> None:
    url = f"{collector}/merge?service=burn&type=cpu&from=now-1h"
    source = BURN.read_text().splitlines()
    lines = go_pprof("-top", "-lines", url).check().text
    seen = {int(number) for number in re.findall(rf"__main__\.burn {re.escape(str(BURN))}:(\d+)", lines)}
    burn = source.index("def burn(nanoseconds: int) -> None:") + 1
    assert seen
    assert seen <= {burn + 1, burn + 2, burn + 3}


@pytest.mark.alone
def test_py_spy_agrees(collector: str, go_pprof: GoPprof, tmp_path: Path) -> None:
    """Both watch the same run, and wall time: CPU time has other shares if the machine is busy.

    py-spy samples the thread that holds the GIL, so that only one may run at a time (``--turns``).
    """
    out = tmp_path / "stacks"
    command = [str(SCRIPTS / "py-spy"), "record", "--gil", "--nonblocking", "--format=raw", f"--output={out}"]
    arguments = [collector, "turns", str(BURN), SECONDS, "--turns"]
    program([*command, "--", sys.executable, "-c", UNDER_AGENT, *arguments]).check()
    url = f"{collector}/merge?service=turns&type=wall&from=now-1h"
    seen = thread_percentages(go_pprof("-tags", "-focus=__main__.burn$", url).check().text)
    spent = dict.fromkeys(WORK, 0.0)
    for line in out.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        for name in WORK:
            if f"{name} (" in stack:
                spent[name] += int(count)
    assert percentages(spent) == pytest.approx(seen, abs=15)
