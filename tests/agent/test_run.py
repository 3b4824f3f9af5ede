"""``profbucket run``: unmodified programs under the agent."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.test_lifecycle import functions
from tests.support.agent.faulty_collector import FaultyCollector, run_faulty_collector
from tests.support.agent.programs import SCRIPTS, program

PROGRAM = str(SCRIPTS / "profbucket")
WORK = (
    "import sys, time\ndef work():\n    end = time.thread_time() + 0.4\n    while time.thread_time() < end: pass\n"
)


@pytest.fixture
def stub() -> Iterator[FaultyCollector]:
    with run_faulty_collector() as stub:
        yield stub


def run(stub: FaultyCollector, *command: str) -> list[str]:
    """Return the command that runs *command* under the agent."""
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


def test_a_program_is_profiled_with_its_own_arguments_output_and_exit_code(
    stub: FaultyCollector, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(WORK + "work(); print(sys.argv, __name__); sys.exit(7)\n")
    done = program(run(stub, sys.executable, "app.py", "--url", "-x"), cwd=tmp_path)
    assert (done.returncode, done.text) == (7, "['app.py', '--url', '-x'] __main__\n")
    assert done.stderr == ""
    # More than one if the machine is busy.
    profiles = [profile for profile in stub.profiles if profile.type == "cpu"]
    assert all("service=shop" in profile.query and "labels=version%3D1" in profile.query for profile in profiles)
    assert any("__main__.work" in functions(profile.data) for profile in profiles)


def test_a_module_is_run_with_m(stub: FaultyCollector, tmp_path: Path) -> None:
    (tmp_path / "mod.py").write_text(WORK + "work()\n")
    program(run(stub, sys.executable, "-m", "mod"), cwd=tmp_path).check()
    assert any("__main__.work" in functions(profile.data) for profile in stub.profiles if profile.type == "cpu")


def test_the_programs_own_sitecustomize_is_run_too(stub: FaultyCollector, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('customized')\n")
    command = run(stub, sys.executable, "-c", "import sitecustomize; print(sitecustomize.__file__)")
    done = program(command, cwd=tmp_path, PYTHONPATH=str(tmp_path)).check()
    assert done.text.split() == ["customized", str(tmp_path / "sitecustomize.py")]


def test_the_programs_path_is_unchanged_except_for_the_hook(stub: FaultyCollector, tmp_path: Path) -> None:
    text = "import json, sys; print(json.dumps(sys.path))"
    plain = json.loads(program([sys.executable, "-c", text], cwd=tmp_path, PYTHONPATH="/a").check().text)
    under = json.loads(program(run(stub, sys.executable, "-c", text), cwd=tmp_path, PYTHONPATH="/a").check().text)
    assert [folder for folder in under if not folder.endswith("profbucket/agent/site")] == plain


def test_a_python_without_profbucket_is_profiled_too(stub: FaultyCollector, tmp_path: Path) -> None:
    """For example in the virtual environment of an application."""
    text = WORK + "work()\nimport importlib.util; print(importlib.util.find_spec('storage_local'))\n"
    bare = str(Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}")
    done = program(run(stub, bare, "-s", "-c", text), cwd=tmp_path, PYTHONPATH="").check()
    assert done.text == "None\n"
    assert any("__main__.work" in functions(profile.data) for profile in stub.profiles if profile.type == "cpu")


def test_the_api_key_is_taken_from_the_environment_and_sent_in_a_header(
    stub: FaultyCollector, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(WORK + "work(); import os; print(os.environ['PROFBUCKET_AGENT'])\n")
    done = program(run(stub, sys.executable, "app.py"), cwd=tmp_path, PROFBUCKET_KEY="pb_secret").check()
    assert "pb_secret" not in done.text
    assert {post.headers["Authorization"] for post in stub.posts} == {"Bearer pb_secret"}


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--url", "nowhere", "--service", "x", "--", "python"], 1, "invalid collector URL"),
        (["--url", "http://h", "--service", "x", "--label", "a", "--", "python"], 2, "label without '='"),
        (["--url", "http://h", "--service", "x", "--", "/no/such/program"], 2, "command not found"),
    ],
)
def test_a_failure_to_start_is_told_on_stderr(arguments: list[str], code: int, sentence: str) -> None:
    done = program([PROGRAM, "run", *arguments])
    assert done.returncode == code
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_an_agent_that_cannot_start_does_not_stop_the_program() -> None:
    text = "print('ran')"
    site = str(Path(__file__).parents[2] / "profbucket" / "agent" / "site")
    done = program([sys.executable, "-c", text], PYTHONPATH=site, PROFBUCKET_AGENT='{"url": "no", "service": "x"}')
    assert done.check().text == "ran\n"
    assert "the agent is not started: invalid collector URL" in done.stderr
