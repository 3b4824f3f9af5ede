"""``profbucket run``: programs under the agent, as they are."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.test_lifecycle import functions
from tests.support.agent.faulty_collector import Sick, sick
from tests.support.agent.programs import SCRIPTS, program

PROGRAM = str(SCRIPTS / "profbucket")
WORK = (
    "import sys, time\ndef work():\n    end = time.thread_time() + 0.4\n    while time.thread_time() < end: pass\n"
)


@pytest.fixture
def stub() -> Iterator[Sick]:
    with sick() as one:
        yield one


def run(stub: Sick, *command: str, **settings: str) -> list[str]:
    return [
        PROGRAM,
        "run",
        "--url",
        stub.url,
        "--service",
        "shop",
        "--label",
        "version=1",
        "--every=1",
        "--seconds=1",
        "--",
        *command,
    ]


def test_a_program_is_profiled_and_sees_none_of_it(stub: Sick, tmp_path: Path) -> None:
    """Its arguments, its output and its exit code are its own."""
    (tmp_path / "app.py").write_text(WORK + "work(); print(sys.argv, __name__); sys.exit(7)\n")
    done = program(run(stub, sys.executable, "app.py", "--url", "-x"), cwd=tmp_path)
    assert (done.returncode, done.text) == (7, "['app.py', '--url', '-x'] __main__\n")
    assert done.stderr == ""
    [cpu] = [post for post in stub.posts if post.type == "cpu"]
    assert "service=shop" in cpu.path
    assert "labels=version%3D1" in cpu.path
    assert "__main__.work" in functions(cpu.body)


def test_a_module_is_run_as_with_m(stub: Sick, tmp_path: Path) -> None:
    (tmp_path / "mod.py").write_text(WORK + "work()\n")
    program(run(stub, sys.executable, "-m", "mod"), cwd=tmp_path).check()
    assert any("__main__.work" in functions(post.body) for post in stub.posts if post.type == "cpu")


def test_the_sitecustomize_that_was_there_is_run_as_well(stub: Sick, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('customized')\n")
    command = run(stub, sys.executable, "-c", "import sitecustomize; print(sitecustomize.__file__)")
    done = program(command, cwd=tmp_path, PYTHONPATH=str(tmp_path)).check()
    assert done.text.split() == ["customized", str(tmp_path / "sitecustomize.py")]


def test_the_path_of_the_program_is_its_own_but_for_what_starts_the_agent(stub: Sick, tmp_path: Path) -> None:
    text = "import json, sys; print(json.dumps(sys.path))"
    plain = json.loads(program([sys.executable, "-c", text], cwd=tmp_path, PYTHONPATH="/a").check().text)
    under = json.loads(program(run(stub, sys.executable, "-c", text), cwd=tmp_path, PYTHONPATH="/a").check().text)
    assert [folder for folder in under if not folder.endswith("profbucket/agent/site")] == plain


def test_a_python_without_profbucket_is_profiled_too(stub: Sick, tmp_path: Path) -> None:
    """As that of an application's own environment: nothing need be installed there."""
    text = WORK + "work()\nimport importlib.util; print(importlib.util.find_spec('storage_local'))\n"
    bare = str(Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}")
    done = program(run(stub, bare, "-s", "-c", text), cwd=tmp_path, PYTHONPATH="").check()
    assert done.text == "None\n"
    assert any("__main__.work" in functions(post.body) for post in stub.posts if post.type == "cpu")


def test_the_key_comes_from_the_environment_and_goes_into_a_header(stub: Sick, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(WORK + "work(); import os; print(os.environ['PROFBUCKET_AGENT'])\n")
    done = program(run(stub, sys.executable, "app.py"), cwd=tmp_path, PROFBUCKET_KEY="pb_secret").check()
    assert "pb_secret" not in done.text
    assert {post.headers["Authorization"] for post in stub.posts} == {"Bearer pb_secret"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--url", "nowhere", "--service", "x", "--", "python"], "not a collector's URL"),
        (["--url", "http://h", "--service", "x", "--label", "a", "--", "python"], "label without '='"),
        (["--url", "http://h", "--service", "x", "--", "/no/such/program"], "No such file"),
    ],
)
def test_what_cannot_be_run_is_a_sentence(arguments: list[str], sentence: str) -> None:
    done = program([PROGRAM, "run", *arguments])
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_an_agent_that_cannot_start_leaves_the_program_alone() -> None:
    text = "print('ran')"
    site = str(Path(__file__).parents[2] / "profbucket" / "agent" / "site")
    done = program([sys.executable, "-c", text], PYTHONPATH=site, PROFBUCKET_AGENT='{"url": "no", "service": "x"}')
    assert done.check().text == "ran\n"
    assert "the agent is not started: not a collector's URL" in done.stderr
