"""What the agent says of a program is what the program did."""

import json
import re
import sys
from pathlib import Path

import pytest

from tests.support.agent.programs import SCRIPTS, program
from tests.support.go_tool import GoPprof
from tests.support.paths import ROOT

pytestmark = pytest.mark.alone

BURN = ROOT / "tests" / "programs" / "burn.py"
WORK = ("sixty", "thirty", "ten")
SECONDS = "4"


def shares(spent: dict[str, float]) -> dict[str, float]:
    """Hundredths of the whole."""
    whole = sum(spent[name] for name in WORK)
    return {name: 100 * spent[name] / whole for name in WORK}


@pytest.fixture(scope="module")
def burnt(collector: str) -> dict[str, float]:
    """Have the program run under the agent; what its own clocks say."""
    text = (
        "import sys, runpy; from profbucket import agent;"
        "agent.start(sys.argv.pop(1), 'burn', every=1.5, seconds=1.5);"
        "sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = program([sys.executable, "-c", text, collector, str(BURN), SECONDS]).check()
    assert done.stderr == ""
    return shares(json.loads(done.text))


def test_shares_of_cpu_are_those_of_the_threads_clocks(
    burnt: dict[str, float], collector: str, go_pprof: GoPprof
) -> None:
    """Within 3 points, by function in `go tool pprof -top` and by thread; who sleeps is not there."""
    url = f"{collector}/merge?service=burn&type=cpu&from=now-1h"
    top = go_pprof("-top", "-cum", "-nodefraction=0", url).check().text
    cum = {match[2]: float(match[1]) for match in re.finditer(r"([\d.]+)%\s+__main__\.(\w+)$", top, re.MULTILINE)}
    tags = go_pprof("-tags", url).check().text
    threads = {match[2]: float(match[1]) for match in re.finditer(r"\(\s*([\d.]+)%\): (\w+)", tags)}
    assert shares(cum) == pytest.approx(burnt, abs=3)
    assert shares(threads) == pytest.approx(burnt, abs=3)
    assert burnt == pytest.approx({"sixty": 60, "thirty": 30, "ten": 10}, abs=3)
    assert cum.get("asleep", 0) < 0.5


def test_all_that_was_spent_is_there(burnt: dict[str, float], collector: str, go_pprof: GoPprof) -> None:
    """The sum is that of the program's clocks, but for what was spent between two profiles."""
    top = go_pprof("-top", "-unit=ms", f"{collector}/merge?service=burn&type=cpu&from=now-1h").check().text
    found = re.search(r"Total samples = (\d+)", top)
    assert found
    assert float(SECONDS) * 850 < float(found[1]) < float(SECONDS) * 1200


def test_a_thread_that_waits_is_in_the_profile_of_time_that_passes(
    burnt: dict[str, float], collector: str, go_pprof: GoPprof
) -> None:
    url = f"{collector}/merge?service=burn&type=other&from=now-1h"
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


def test_a_profiler_that_looks_from_outside_agrees(burnt: dict[str, float], tmp_path: Path) -> None:
    """py-spy, on the same program. It measures time that passes, so that only one thread is to spend at a time."""
    out = tmp_path / "stacks"
    command = [str(SCRIPTS / "py-spy"), "record", "--gil", "--nonblocking", "--format=raw", f"--output={out}"]
    program([*command, "--", sys.executable, str(BURN), SECONDS, "--turns"]).check()
    spent = dict.fromkeys(WORK, 0.0)
    for line in out.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        for name in WORK:
            if f"{name} (" in stack:
                spent[name] += int(count)
    assert shares(spent) == pytest.approx(burnt, abs=8)
