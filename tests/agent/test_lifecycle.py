"""The agent in a program's life: start, exit, forks, servers, greenlets."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from profbucket.pprof import decode
from tests.support.agent.faulty_collector import FaultyCollector, run_faulty_collector
from tests.support.agent.programs import SCRIPTS, program, python
from tests.support.paths import ROOT

START = "from profbucket import agent; import sys, os, time, threading; url = sys.argv[1]\n"
START_OFTEN = "agent.start(url, 'life', every=0.3, seconds=0.3)\n"
BURN = "def burn(s):\n    end = time.thread_time() + s\n    while time.thread_time() < end: pass\n"


@pytest.fixture
def stub() -> Iterator[FaultyCollector]:
    with run_faulty_collector() as stub:
        yield stub


def functions(body: bytes) -> set[str]:
    """Return the names of all functions in a profile."""
    message = decode(body).message
    return {message.string_table[f.name].decode() for f in message.function}


def test_a_program_that_exits_sends_its_incomplete_profile(stub: FaultyCollector) -> None:
    """So that a program of less than a minute has a profile."""
    python(START + "agent.start(url, 'short', every=60, seconds=60)\n" + BURN + "burn(0.5)", stub.url).check()
    assert {profile.type for profile in stub.profiles} == {"cpu", "wall"}
    assert "__main__.burn" in functions(next(profile.data for profile in stub.profiles if profile.type == "cpu"))


@pytest.mark.parametrize("fault", ["hang", 503, "gone"])
def test_an_unavailable_collector_does_not_delay_the_exit(stub: FaultyCollector, fault: int | str) -> None:
    """Nor does it change the program's output and exit code. One attempt to send takes up to 15 seconds."""
    stub.fault = fault
    url = "http://127.0.0.1:1" if fault == "gone" else stub.url
    text = START + START_OFTEN + BURN + "burn(0.5)\nbegin = time.monotonic()\n"
    text += "import atexit; atexit._run_exitfuncs(); print(time.monotonic() - begin < 12); sys.exit(3)"
    done = python(text, url)
    assert (done.returncode, done.text) == (3, "True\n")


def test_stop_sends_the_queue_and_ends_the_threads(stub: FaultyCollector) -> None:
    text = START + START_OFTEN + BURN + "burn(0.5)\nagent.stop()\nprint(threading.active_count())\n"
    text += "before = set(sys._current_frames())\nprint(len(before))\nagent.stop()\n"
    done = python(text, stub.url).check()
    assert done.text.split() == ["1", "1"]
    assert "cpu" in {profile.type for profile in stub.profiles}


def test_it_can_be_restarted_after_a_stop_but_not_started_twice(stub: FaultyCollector) -> None:
    text = (
        START
        + START_OFTEN
        + START_OFTEN
        + "agent.stop()\nagent.start(url, 'second', every=60, seconds=60)\n"
        + BURN
    )
    done = python(text + "burn(0.2)", stub.url).check()
    assert "the agent is already running, for the service life" in done.stderr
    assert any("service=second" in profile.query for profile in stub.profiles)


def test_a_forked_child_has_its_own_agent(stub: FaultyCollector) -> None:
    """And sends none of the profiles that were queued in the parent."""
    text = START + START_OFTEN + BURN
    text += (
        "def in_parent(): burn(0.5)\n"
        "def in_child(): burn(0.5)\n"
        "in_parent()\n"
        "if pid := os.fork():\n"
        "    os.waitpid(pid, 0)\n"
        "else:\n"
        "    in_child()\n"
        "agent.stop()\n"
        "print(sys.getswitchinterval(), flush=True)\n"
        "os._exit(0)\n"
    )
    done = python(text, stub.url).check()
    bodies = [profile.data for profile in stub.profiles]
    assert len(set(bodies)) == len(bodies)
    seen = [functions(profile.data) for profile in stub.profiles if profile.type == "cpu"]
    assert any("__main__.in_parent" in names for names in seen)
    assert any("__main__.in_child" in names for names in seen)
    assert done.text.split() == ["0.005", "0.005"]


def test_a_forked_child_has_an_empty_queue_and_the_original_switch_interval(stub: FaultyCollector) -> None:
    text = START + "from profbucket.agent.settings import Settings\n"
    text += (
        "agent.start(url, 'life', every=3600, seconds=0.01)\n"
        "agent._Agent.running._outbox.put({'cpu': b'waits'})\n"
        "from profbucket.agent.sampling import SWITCH_INTERVAL; SWITCH_INTERVAL.lower()\n"
        "pid = os.fork()\n"
        "waiting = len(agent._Agent.running._outbox._queue)\n"
        "print(waiting, sys.getswitchinterval() if pid == 0 else '', flush=True)\n"
        "if pid: os.waitpid(pid, 0)\n"
        "else: agent.stop(); os._exit(0)\n"
    )
    stub.fault = 503
    done = python(text, stub.url).check()
    assert sorted(done.text.split()) == ["0", "0.005", "1"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_of_multiprocessing_are_profiled(stub: FaultyCollector, method: str, tmp_path: Path) -> None:
    file = tmp_path / "pool.py"
    file.write_text(
        START.replace("sys.argv[1]", f"{stub.url!r}")
        + BURN
        + "def child(n): burn(0.5); return n\n"
        + "if __name__ == '__main__':\n"
        + "    "
        + START_OFTEN
        + f"    import multiprocessing; pool = multiprocessing.get_context({method!r}).Pool(2)\n"
        + "    print(sum(pool.map(child, range(4)))); pool.close(); pool.join()\n"
    )
    done = program([sys.executable, str(file)]).check()
    assert (done.text, done.stderr) == ("6\n", "")
    bodies = [profile.data for profile in stub.profiles]
    assert len(set(bodies)) == len(bodies)


APP = """
import hashlib, time
from profbucket import agent
def app(environ, start_response):
    end = time.thread_time() + 0.05
    while time.thread_time() < end: hashlib.sha256(b"x" * 1000).digest()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""

SERVE = """
import signal, subprocess, sys, time, urllib.request
port, command = sys.argv[1], sys.argv[2:]
server = subprocess.Popen(command)
for _ in range(600):
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}").read()
        break
    except OSError:
        time.sleep(0.1)
for _ in range(20):
    assert urllib.request.urlopen(f"http://127.0.0.1:{port}").read() == b"ok"
server.send_signal(signal.SIGTERM)
sys.exit(server.wait(30))
"""


@pytest.mark.parametrize("preload", [True, False], ids=["preloaded", "in each worker"])
@pytest.mark.parametrize("worker", ["sync", "gthread", "gevent"])
def test_workers_of_gunicorn_are_profiled(
    stub: FaultyCollector, worker: str, preload: bool, tmp_path: Path
) -> None:
    """The application starts the agent, before or after gunicorn forks; gevent replaces threads by greenlets."""
    from tests.support.serving import free_port

    (tmp_path / "site_app.py").write_text(APP + f"agent.start({stub.url!r}, 'web', every=0.5, seconds=0.5)\n")
    port = free_port()
    command = [str(SCRIPTS / "gunicorn"), "-k", worker, "-w", "2", "-b", f"127.0.0.1:{port}", "site_app:app"]
    command += ["--preload"] if preload else []
    program(
        [sys.executable, "-c", SERVE, str(port), *command], cwd=tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}"
    ).check()
    seen = [functions(profile.data) for profile in stub.profiles if profile.type == "cpu"]
    assert any("site_app.app" in names for names in seen)
    bodies = [profile.data for profile in stub.profiles]
    assert len(set(bodies)) == len(bodies)


def test_running_greenlets_are_in_the_profile(stub: FaultyCollector) -> None:
    text = "import gevent.monkey; gevent.monkey.patch_all()\nimport gevent\n" + START + START_OFTEN + BURN
    text += (
        "def busy(): \n    for _ in range(50): burn(0.01); gevent.sleep(0.001)\n"
        "def idle(): gevent.sleep(0.9)\n"
        "gevent.joinall([gevent.spawn(busy), gevent.spawn(idle)])\n"
    )
    python(text, stub.url).check()
    seen = [functions(profile.data) for profile in stub.profiles if profile.type == "cpu"]
    assert any("__main__.busy" in names for names in seen)
