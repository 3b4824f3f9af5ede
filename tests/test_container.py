"""The Dockerfile, without Docker: its steps are read, and executed in temporary directories."""

import json
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pytest
import urllib3

from tests.support.go_tool import run
from tests.support.paths import DATA, ROOT
from tests.support.requirements import CONTAINER, pinned_environment
from tests.support.serving import TIMEOUT_SECONDS
from tests.support.wheel import build_wheel, install, serve_installed

CPU = DATA / "shop-0.0.1" / "cpu-1.pb.gz"


def instructions() -> Iterator[tuple[str, str]]:
    """Yield the instructions of the Dockerfile, each as its keyword and its arguments."""
    text = (ROOT / "Dockerfile").read_text()
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if line.strip() and not line.startswith("#"):
            keyword, _, arguments = line.partition(" ")
            yield keyword, arguments.strip()


def arguments_of(keyword: str) -> list[str]:
    return [arguments for found, arguments in instructions() if found == keyword]


def image_environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for line in arguments_of("ENV") for pair in shlex.split(line))


def in_build_context(path: str) -> bool:
    """Return whether .dockerignore admits a file: the last pattern that matches it, or a parent of it, decides."""
    admitted = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").rstrip("/")
        if not line or line.startswith("#"):
            continue
        candidates = [path, *(str(parent) for parent in PurePosixPath(path).parents)]
        if pattern.startswith("**/"):
            matches = any(fnmatch(part, pattern[3:]) for part in PurePosixPath(path).parts)
        else:
            matches = any(candidate == pattern for candidate in candidates) or pattern == "*"
        if matches:
            admitted = line.startswith("!")
    return admitted


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of the image after the COPY steps, made from the files that git tracks or would track."""
    root = tmp_path_factory.mktemp("image")
    listed = (
        run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).check().text.split("\n")
    )
    for line in arguments_of("COPY"):
        *sources, target = line.split()
        for name in listed:
            source = next(
                (path for path in sources if name == path or (path[-1] == "/" and name.startswith(path))), None
            )
            if source is None or not (ROOT / name).is_file() or not in_build_context(name):
                continue
            relative = name.removeprefix(source) if source.endswith("/") else PurePosixPath(name).name
            copy = root / target.lstrip("/") / relative
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy)
    return root


@pytest.fixture(scope="session")
def installed(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as the image installs it: a wheel of the copied files, without dependencies."""
    wheel = build_wheel(image / "src", tmp_path_factory.mktemp("wheel"))
    target = tmp_path_factory.mktemp("installed")
    install(pinned_environment(CONTAINER), "--no-deps", "--no-index", "--target", target, wheel)
    return target


def test_container_functions_and_tests_have_the_same_version_of_python() -> None:
    """pyproject.toml names the versions that are tested, and the one that is deployed last."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    prefix = "Programming Language :: Python :: 3."
    minors = [int(line.removeprefix(prefix)) for line in project["classifiers"] if line.startswith(prefix)]
    assert project["requires-python"] == f">=3.{minors[0]}"
    assert minors == list(range(minors[0], minors[-1] + 1))
    assert arguments_of("FROM") == [f"python:3.{minors[-1]}-slim"]
    assert f'"python3{minors[-1]}"' in (ROOT / "terraform" / "functions.tf").read_text()
    makefile = (ROOT / "Makefile").read_text()
    assert re.findall(r"^PYTHONS := (.*)$", makefile, re.MULTILINE) == [" ".join(f"3.{m}" for m in minors)]


def test_it_does_not_run_as_root() -> None:
    (user,) = arguments_of("USER")
    assert re.fullmatch(r"[1-9][0-9]*:[1-9][0-9]*", user)
    keywords = [keyword for keyword, _ in instructions()]
    assert "RUN" not in keywords[keywords.index("USER") :]


def test_its_steps_download_from_pypi_only() -> None:
    for command in arguments_of("RUN"):
        assert shlex.split(command)[:4] == ["python", "-m", "pip", "install"] or command.startswith("install ")
        assert "://" not in command
    assert not arguments_of("ADD")


def test_packages_are_a_layer_that_code_changes_do_not_invalidate() -> None:
    assert [keyword for keyword, _ in instructions()][:4] == ["FROM", "COPY", "RUN", "COPY"]
    assert arguments_of("COPY")[0].split()[0] == "requirements.txt"
    assert arguments_of("RUN")[0].split()[-1] == "/src/requirements.txt"


def test_the_build_context_holds_what_is_copied_and_nothing_else(image: Path) -> None:
    for line in arguments_of("COPY"):
        for source in line.split()[:-1]:
            assert in_build_context(f"{source}x" if source.endswith("/") else source), source
    for path in (
        "tests/conftest.py",
        "terraform/terraform.tfvars",
        ".git/config",
        ".venv/bin/python",
        "profbucket/.env",
        "profbucket/__pycache__/api.pyc",
        "profbucket-data/index.sqlite",
    ):
        assert not in_build_context(path), path
    assert (image / "src" / "profbucket" / "cli" / "server_process.py").exists()


def test_its_command_serves_with_the_pinned_packages(installed: Path, tmp_path: Path) -> None:
    *command, option, port = json.loads(arguments_of("ENTRYPOINT")[0]) + json.loads(arguments_of("CMD")[0])
    assert [option, port] == ["--port", arguments_of("EXPOSE")[0]]
    environment = image_environment()
    assert environment["STORAGE_URL"] == f"file://{arguments_of('VOLUME')[0]}"
    environment |= {"STORAGE_URL": (tmp_path / "profiles").as_uri(), "PROFBUCKET_ANONYMOUS": "1"}
    packages, log = pinned_environment(CONTAINER), tmp_path / "log"
    with serve_installed(packages, installed, log, command, **environment) as url:
        profiles = f"{url}/api/0/profiles?service=shop&type=cpu"
        assert urllib3.request("POST", profiles, body=CPU.read_bytes(), timeout=TIMEOUT_SECONDS).status == 200
        assert (
            urllib3.request("GET", f"{profiles}&from=2000-01-01T00:00:00", timeout=TIMEOUT_SECONDS).status == 200
        )
        for path in ("/", "/ui/app.js", "/ui/speedscope/index.html", "/api/0/openapi.json"):  # package data
            assert urllib3.request("GET", f"{url}{path}", timeout=TIMEOUT_SECONDS).status == 200
