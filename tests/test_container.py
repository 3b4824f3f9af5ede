"""The Dockerfile, without Docker: its steps are read, and done in directories of the tests' own."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pytest
import urllib3

from tests.support.cache import cached, make_environment
from tests.support.go_tool import run
from tests.support.paths import ROOT
from tests.support.requirements import CONTAINER, pinned_environment
from tests.support.serving import TIMEOUT_SECONDS, free_port, wait_until_up

CPU = ROOT / "tests" / "data" / "shop-0.0.1" / "cpu-1.pb.gz"


def steps() -> Iterator[tuple[str, str]]:
    """The instructions of the Dockerfile, each a word and the rest."""
    text = (ROOT / "Dockerfile").read_text()
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if line.strip() and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            yield word, rest.strip()


def told(word: str) -> list[str]:
    return [rest for step, rest in steps() if step == word]


def settings() -> dict[str, str]:
    return dict(pair.split("=", 1) for line in told("ENV") for pair in shlex.split(line))


def let_through(path: str) -> bool:
    """Whether .dockerignore lets a file into the build: the last pattern that fits it or a directory of it."""
    through = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").rstrip("/")
        if not line or line.startswith("#"):
            continue
        candidates = [path, *(str(parent) for parent in PurePosixPath(path).parents)]
        if pattern.startswith("**/"):
            fits = any(fnmatch(part, pattern[3:]) for part in PurePosixPath(path).parts)
        else:
            fits = any(candidate == pattern for candidate in candidates) or pattern == "*"
        if fits:
            through = line.startswith("!")
    return through


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the COPY steps put under /, of the files that git has or would have."""
    root = tmp_path_factory.mktemp("image")
    listed = (
        run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).check().text.split("\n")
    )
    for line in told("COPY"):
        *sources, target = line.split()
        for name in listed:
            source = next(
                (one for one in sources if name == one or (one[-1] == "/" and name.startswith(one))), None
            )
            if source is None or not (ROOT / name).is_file() or not let_through(name):
                continue
            relative = name.removeprefix(source) if source.endswith("/") else PurePosixPath(name).name
            copy = root / target.lstrip("/") / relative
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy)
    return root


@pytest.fixture(scope="session")
def installed(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as the image installs it: a wheel of what was copied, without its dependencies."""
    builder = cached("builder", sys.version, lambda directory: make_environment(directory, "hatchling>=1.27"))
    wheels = tmp_path_factory.mktemp("wheels")
    run(
        str(builder / "bin" / "python"),
        "-m",
        "hatchling",
        "build",
        "-t",
        "wheel",
        "-d",
        str(wheels),
        cwd=image / "src",
    ).check()
    target = tmp_path_factory.mktemp("installed")
    python = str(pinned_environment(CONTAINER) / "bin" / "python")
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(target),
        *map(str, wheels.iterdir()),
    ).check()
    return target


def test_it_starts_from_a_slim_python_that_the_project_supports() -> None:
    (base,) = told("FROM")
    assert re.fullmatch(r"python:3\.1[1-9]-slim", base)


def test_it_does_not_run_as_root() -> None:
    (user,) = told("USER")
    assert re.fullmatch(r"[1-9][0-9]*:[1-9][0-9]*", user)
    words = [word for word, _ in steps()]
    assert "RUN" not in words[words.index("USER") :]


def test_no_step_needs_more_of_the_network_than_pypi() -> None:
    for command in told("RUN"):
        assert shlex.split(command)[:4] == ["python", "-m", "pip", "install"] or command.startswith("install ")
        assert "://" not in command
    assert not told("ADD")


def test_packages_are_a_layer_that_a_change_of_code_leaves() -> None:
    assert [word for word, _ in steps()][:4] == ["FROM", "COPY", "RUN", "COPY"]
    assert told("COPY")[0].split()[0] == told("RUN")[0].split()[-1].removeprefix("/src/") == "requirements.txt"


def test_what_is_copied_is_let_through_and_nothing_else_is(image: Path) -> None:
    for line in told("COPY"):
        for source in line.split()[:-1]:
            assert let_through(f"{source}x" if source.endswith("/") else source), source
    for path in (
        "tests/conftest.py",
        "terraform/terraform.tfvars",
        ".git/config",
        ".venv/bin/python",
        "profbucket/.env",
        "profbucket/__pycache__/api.pyc",
        "profbucket-data/index.sqlite",
    ):
        assert not let_through(path), path
    assert (image / "src" / "functions" / "main.py").exists()


def test_it_holds_every_room_that_the_wheel_has(image: Path) -> None:
    packages = re.search(r"^packages = (\[.*\])$", (ROOT / "pyproject.toml").read_text(), re.M)
    assert packages
    assert {path.name for path in (image / "src").iterdir() if path.is_dir()} == set(json.loads(packages[1]))


def test_its_command_serves_with_its_pins_alone(installed: Path, tmp_path: Path) -> None:
    command = json.loads(told("ENTRYPOINT")[0]) + json.loads(told("CMD")[0])
    assert command[-2:] == ["--port", told("EXPOSE")[0]]
    assert settings()["STORAGE_URL"] == f"file://{told('VOLUME')[0]}"
    port = free_port()
    program = [str(pinned_environment(CONTAINER) / "bin" / "python"), str(installed / "bin" / command[0])]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PROFBUCKET_", "FUNCTION_"))}
    environment = {
        **kept,
        **settings(),
        "STORAGE_URL": f"file://{tmp_path / 'profiles'}",
        "PROFBUCKET_ANONYMOUS": "1",
        "PYTHONPATH": str(installed),
    }
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*program, *command[1:-1], str(port)], cwd=tmp_path, env=environment, stdout=output, stderr=output
        )
    try:
        wait_until_up(process, port, log)
        url = f"http://127.0.0.1:{port}/api/0/profiles?service=shop&type=cpu"
        assert urllib3.request("POST", url, body=CPU.read_bytes(), timeout=TIMEOUT_SECONDS).status == 200
        assert urllib3.request("GET", f"{url}&from=2000-01-01T00:00:00", timeout=TIMEOUT_SECONDS).status == 200
        for path in ("/", "/ui/app.js", "/ui/speedscope/index.html"):  # they are no modules, and in the wheel
            assert urllib3.request("GET", f"http://127.0.0.1:{port}{path}", timeout=TIMEOUT_SECONDS).status == 200
    finally:
        process.terminate()  # as a host ends a container
        process.wait(TIMEOUT_SECONDS)
    assert process.returncode in (0, 143)
