"""README.md is true: its commands work, its tables are complete, and it is short."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from profbucket.cli.main import COMMANDS
from tests.support.command_line import clean_environment
from tests.support.console import URL, mask_numbers, run_console
from tests.support.go_tool import GoPprof, Run, run
from tests.support.paths import DATA, ROOT
from tests.support.scrape_targets import run_server, serve
from tests.support.serving import SCRIPTS, served

README = (ROOT / "README.md").read_text()

# Commands without output in the README, and the test that runs them.
RUN_BY_TESTS = {
    "make serve": "tests/test_readme.py",
    "profbucket run ": "tests/test_readme.py",
    "cat targets.json": "tests/test_readme.py",
    "profbucket scrape ": "tests/test_readme.py",
    "cd terraform": "tests/terraform/test_commands.py",
    "terraform ": "tests/terraform/test_commands.py",
}


def plain_commands() -> list[str]:
    """Return the commands of the blocks whose output is not shown."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    lines = [line for language, block in blocks if not language for line in block.splitlines()]
    return [line[2:].replace(".venv/bin/", "") for line in lines if line.startswith("$ ")]


def summarize_report(output: str) -> set[str]:
    """Return the parts of a pprof report that are the same for any test data: its header, the slow function."""
    header = r"^(File|Build ID|Type|Time|Duration|Showing nodes|service=shop type=\w+ (?:version=\S+ )?merged)"
    return {*re.findall(header, output, re.MULTILINE), *re.findall("main.priceCart", output)}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("readme")
    with served((directory / "profiles").as_uri(), directory / "log") as url:
        yield url


def _profbucket(command: str, url: str, directory: Path) -> Run:
    """Run a command of the README in *directory*, against the collector at *url*."""
    path = f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"
    environment = clean_environment(PATH=path, PROFBUCKET_URL=url)
    return run("sh", "-c", command.replace(URL, url), cwd=directory, environment=environment).check()


def _command(start: str) -> str:
    """Return the only plain command that starts with *start*."""
    [command] = [command for command in plain_commands() if command.startswith(start)]
    return command


def test_console_commands_print_what_the_readme_shows(url: str, tmp_path: Path, go_pprof: GoPprof) -> None:
    results = run_console(README, url, go_pprof, tmp_path)
    assert len(results) >= 5
    for command, expected, actual in results:
        if " -top " in command:
            assert summarize_report(actual) == summarize_report(expected), command
        else:
            assert mask_numbers(actual) == mask_numbers(expected), command


def test_the_other_commands_are_run_by_tests() -> None:
    commands = plain_commands()
    assert len(commands) >= 6
    assert [command for command in commands if not command.startswith(tuple(RUN_BY_TESTS))] == []
    assert all((ROOT / test).exists() for test in RUN_BY_TESTS.values())


def test_make_serve_starts_the_collector_of_the_readme() -> None:
    """Print the recipe instead of running it: other tests run the collector."""
    recipe = subprocess.run(["make", "-n", "serve"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"profbucket serve --port {URL.rpartition(':')[2]} --storage 'file://{ROOT}/profbucket-data'" in recipe


def test_run_profiles_an_unchanged_program(url: str, tmp_path: Path) -> None:
    program = "import time\nend = time.monotonic() + 1\nwhile time.monotonic() < end: sum(range(1000))\n"
    (tmp_path / "app.py").write_text(program)
    command = _command("profbucket run ").replace(" -- ", " --every 0.5 --seconds 0.4 -- ")
    _profbucket(command, url, tmp_path)
    found = _profbucket("profbucket find --service shop-api --label version=0.0.2 --json", url, tmp_path)
    assert "cpu" in found.text


def test_scrape_stores_the_profiles_of_a_target(url: str, tmp_path: Path) -> None:
    block = re.search(r"^\$ cat targets.json\n(.*)$", README, re.MULTILINE)
    assert block
    [target] = json.loads(block[1])
    with run_server(serve((DATA / "shop-0.0.1" / "heap-1.pb.gz").read_bytes())) as server:
        targets = [{**target, "url": server.url, "profiles": ["heap"]}]
        (tmp_path / "targets.json").write_text(json.dumps(targets))
        _profbucket(_command("profbucket scrape "), url, tmp_path)
    found = _profbucket(f"profbucket find --service {target['service']} --from 0", url, tmp_path)
    assert "version=0.0.1" in found.text


def test_serve_prints_what_the_readme_shows() -> None:
    from profbucket.cli.server import Server
    from profbucket.config import Config

    server = Server("127.0.0.1", 10100, "file:///home/you/profbucket/profbucket-data")
    documented = [mask_numbers(line) for line in README.splitlines()]
    for line in server.welcome(Config(server.storage_url), URL).splitlines():
        # The paths of the program and the sample depend on where the test runs.
        expected = re.sub(r"^  \S+ (push|top)", r"  .venv/bin/profbucket \1", line).replace(f"{ROOT}/", "")
        assert mask_numbers(expected) in documented, line


def test_every_command_is_in_the_table() -> None:
    rows = re.findall(r"^\| (`profbucket .*?) \|", README, re.MULTILINE)
    commands = {command for row in rows for command in re.findall(r"`profbucket ([a-z ]+[a-z])", row)}
    assert commands == set(COMMANDS)


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 250


def test_the_python_example_is_valid() -> None:
    """Compile it, and check that its call matches the agent's signature."""
    from inspect import signature

    from profbucket import agent

    example = re.search(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert example
    compile(example[1], "README.md", "exec")
    signature(agent.start).bind(URL, "shop-api", labels={"version": "0.0.2"})
