"""The agent in a program's life: forks, ends, servers, greenlets."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from profbucket.pprof import decode
from tests.support.agent.faulty_collector import Sick, sick
from tests.support.agent.programs import SCRIPTS, program, python
from tests.support.paths import ROOT

START = "from profbucket import agent; import sys, os, time, threading; url = sys.argv[1]\n"
OFTEN = "agent.start(url, 'life', every=0.3, seconds=0.3)\n"
BURN = "def burn(s):\n    end = time.thread_time() + s\n    while time.thread_time() < end: pass\n"


@pytest.fixture
def stub() -> Iterator[Sick]:
    with sick() as one:
        yield one


def functions(body: bytes) -> set[str]:
    message = decode(body).message
    return {message.string_table[f.name].decode() for f in message.function}


def test_a_program_that_ends_sends_what_it_has_taken(stub: Sick) -> None:
    """Its first profile, begun and not ended: a program that runs for less than a minute is seen as well."""
    python(START + "agent.start(url, 'short', every=60, seconds=60)\n" + BURN + "burn(0.5)", stub.url).check()
    assert {post.type for post in stub.posts} == {"cpu", "other"}
    assert "__main__.burn" in functions(next(post.body for post in stub.posts if post.type == "cpu"))


@pytest.mark.parametrize("fault", ["hang", 503, "gone"])
def test_the_end_of_a_program_does_not_wait_for_a_collector_that_is_away(stub: Sick, fault: int | str) -> None:
    """It ends in time, says nothing on stdout, and with its own exit code."""
    stub.fault = fault
    url = "http://127.0.0.1:1" if fault == "gone" else stub.url
    text = START + OFTEN + BURN + "burn(1)\nbegin = time.monotonic()\n"
    text += "import atexit; atexit._run_exitfuncs(); print(time.monotonic() - begin < 4); sys.exit(3)"
    done = python(text, url)
    assert (done.returncode, done.text) == (3, "True\n")


def test_stop_sends_what_is_left_and_no_more_follows(stub: Sick) -> None:
    text = START + OFTEN + BURN + "burn(0.5)\nagent.stop()\nprint(threading.active_count())\n"
    text += "before = set(sys._current_frames())\nprint(len(before))\nagent.stop()\n"
    done = python(text, stub.url).check()
    assert done.text.split() == ["1", "1"]
    assert "cpu" in {post.type for post in stub.posts}


def test_it_is_started_again_after_it_was_stopped_and_not_while_it_runs(stub: Sick) -> None:
    text = START + OFTEN + OFTEN + "agent.stop()\nagent.start(url, 'second', every=60, seconds=60)\n" + BURN
    done = python(text + "burn(0.2)", stub.url).check()
    assert "the agent runs already, for the service life" in done.stderr
    assert any("service=second" in post.path for post in stub.posts)


def test_a_forked_child_has_an_agent_of_its_own_and_sends_nothing_twice(stub: Sick) -> None:
    """What waits in the parent when it forks is sent by the parent alone."""
    text = START + OFTEN + BURN
    text += (
        "def in_parent(): burn(1)\n"
        "def in_child(): burn(1)\n"
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
    bodies = [post.body for post in stub.posts]
    assert len(set(bodies)) == len(bodies)
    seen = [functions(post.body) for post in stub.posts if post.type == "cpu"]
    assert any("__main__.in_parent" in one for one in seen)
    assert any("__main__.in_child" in one for one in seen)
    assert done.text.split() == ["0.005", "0.005"]


def test_a_fork_does_not_take_along_what_waits_nor_what_is_set_for_a_look(stub: Sick) -> None:
    text = START + "from profbucket.agent.settings import Settings\n"
    text += (
        "agent.start(url, 'life', every=3600, seconds=0.01)\n"
        "agent._Agent.running._outbox.put('cpu', b'waits')\n"
        "from profbucket.agent.sampling import PROMPT; PROMPT.set()\n"
        "pid = os.fork()\n"
        "waiting = len(agent._Agent.running._outbox._waiting)\n"
        "print(waiting, sys.getswitchinterval() if pid == 0 else '', flush=True)\n"
        "if pid: os.waitpid(pid, 0)\n"
        "else: agent.stop(); os._exit(0)\n"
    )
    stub.fault = 503
    done = python(text, stub.url).check()
    assert sorted(done.text.split()) == ["0", "0.005", "1"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_of_multiprocessing_are_in_step_with_nothing_that_breaks(
    stub: Sick, method: str, tmp_path: Path
) -> None:
    file = tmp_path / "pool.py"
    file.write_text(
        START.replace("sys.argv[1]", f"{stub.url!r}")
        + BURN
        + "def child(n): burn(0.5); return n\n"
        + "if __name__ == '__main__':\n"
        + "    "
        + OFTEN
        + f"    import multiprocessing; pool = multiprocessing.get_context({method!r}).Pool(2)\n"
        + "    print(sum(pool.map(child, range(4)))); pool.close(); pool.join()\n"
    )
    done = program([sys.executable, str(file)]).check()
    assert (done.text, done.stderr) == ("6\n", "")
    bodies = [post.body for post in stub.posts]
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
for _ in range(40):
    assert urllib.request.urlopen(f"http://127.0.0.1:{port}").read() == b"ok"
server.send_signal(signal.SIGTERM)
sys.exit(server.wait(30))
"""


@pytest.mark.parametrize("preload", [True, False], ids=["preloaded", "in each worker"])
@pytest.mark.parametrize("worker", ["sync", "gthread", "gevent"])
def test_workers_of_gunicorn_are_profiled(stub: Sick, worker: str, preload: bool, tmp_path: Path) -> None:
    """Started in the application, before or after gunicorn forks; with greenlets in place of threads, too."""
    from tests.support.serving import free_port

    (tmp_path / "site_app.py").write_text(APP + f"agent.start({stub.url!r}, 'web', every=0.5, seconds=0.5)\n")
    port = free_port()
    command = [str(SCRIPTS / "gunicorn"), "-k", worker, "-w", "2", "-b", f"127.0.0.1:{port}", "site_app:app"]
    command += ["--preload"] if preload else []
    program(
        [sys.executable, "-c", SERVE, str(port), *command], cwd=tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}"
    ).check()
    seen = [functions(post.body) for post in stub.posts if post.type == "cpu"]
    assert any("site_app.app" in one for one in seen)
    bodies = [post.body for post in stub.posts]
    assert len(set(bodies)) == len(bodies)


def test_greenlets_are_seen_at_work(stub: Sick) -> None:
    """Monkey-patched before or after the import: the profile has the greenlet that runs, and sends it."""
    text = "import gevent.monkey; gevent.monkey.patch_all()\nimport gevent\n" + START + OFTEN + BURN
    text += (
        "def busy(): \n    for _ in range(50): burn(0.01); gevent.sleep(0.001)\n"
        "def idle(): gevent.sleep(0.9)\n"
        "gevent.joinall([gevent.spawn(busy), gevent.spawn(idle)])\n"
    )
    python(text, stub.url).check()
    seen = [functions(post.body) for post in stub.posts if post.type == "cpu"]
    assert any("__main__.busy" in one for one in seen)
