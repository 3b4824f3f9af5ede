"""Installations by pip: the base distribution, which needs no other package, and the extra ``server``."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import urllib3

from profbucket.cli.http_client import HttpClient
from profbucket.model.meta import Query
from profbucket.times import LATEST
from tests.support.cache import cached
from tests.support.canonical import canonicalize
from tests.support.command_line import clean_environment, profbucket
from tests.support.go_tool import Run, run
from tests.support.paths import DATA, ROOT
from tests.support.serving import TIMEOUT_SECONDS
from tests.support.wheel import build_wheel, install, serve_installed

CPU = sorted((DATA / "shop-0.0.1").glob("cpu-?.pb.gz"))
ALWAYS = ("--from", "0")
# Of a make that is not called by `make test`.
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "STORAGE_URL"))}

# A program that works for a moment under the agent.
PROGRAM = """
import time
def work():
    end = time.monotonic() + 0.6
    while time.monotonic() < end:
        sum(range(1000))
work()
"""
WITH_AGENT = f"""
import sys
from profbucket import agent
agent.start(sys.argv[1], "embedded", every=0.3, seconds=0.2)
{PROGRAM}
agent.stop()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment after ``pip install profbucket``; without an index, dependencies would fail."""
    environment = tmp_path_factory.mktemp("base")
    run(sys.executable, "-m", "venv", "--without-pip", str(environment)).check()
    install(environment, "--no-index", wheel)
    return environment


@pytest.fixture(scope="module")
def program(base: Path) -> str:
    return str(base / "bin" / "profbucket")


def site_packages(environment: Path) -> Path:
    return next(environment.glob("lib/python*/site-packages"))


class TestBase:
    def python(self, base: Path, *args: str) -> Run:
        return run(str(base / "bin" / "python"), *args, environment=clean_environment())

    def test_no_other_package_is_installed(self, base: Path) -> None:
        path = [str(site_packages(base))]
        assert {found.name for found in metadata.distributions(path=path)} == {"profbucket"}

    def test_its_top_level_names_are_its_own(self, base: Path) -> None:
        """`functions`, above all, is a name that others may have."""
        names = {path.name for path in site_packages(base).iterdir()} - {"__pycache__"}
        dist_info = f"profbucket-{metadata.version('profbucket')}.dist-info"
        assert names == {"profbucket", "storage_gcs", "storage_local", "storage_s3", dist_info}

    def test_it_is_typed_and_complete(self, base: Path) -> None:
        """Every file that git knows below the packages is installed."""
        listed = run("git", "ls-files", "profbucket", "storage_*", cwd=ROOT).check().text.split()
        missing = [path for path in listed if (ROOT / path).exists() and not (site_packages(base) / path).exists()]
        assert missing == []
        assert (site_packages(base) / "profbucket" / "py.typed").exists()

    def test_a_program_runs_with_the_agent(self, base: Path, collector: str) -> None:
        self.python(base, "-c", WITH_AGENT, collector).check()
        assert HttpClient(collector).find(Query("embedded", None, 0, LATEST)).profiles

    def test_a_program_runs_under_the_agent(
        self, base: Path, program: str, collector: str, tmp_path: Path
    ) -> None:
        script = tmp_path / "script.py"
        script.write_text(PROGRAM)
        options = ("--service", "unchanged", "--url", collector, "--every", "0.3", "--seconds", "0.2")
        profbucket("run", *options, "--", base / "bin" / "python", script, program=program).check()
        assert HttpClient(collector).find(Query("unchanged", None, 0, LATEST)).profiles

    def test_commands_work_over_http(self, program: str, collector: str) -> None:
        def call(*args: str | Path) -> Run:
            return profbucket(*args, program=program, PROFBUCKET_URL=collector).check()

        query = ("--service", "base", "--type", "cpu")
        ids = call("push", *CPU, *query, "--label", "version=1").text.split()
        assert len(ids) == len(CPU)
        assert call("get", ids[0]).stdout == CPU[0].read_bytes()
        assert "base" in call("services").text.splitlines()
        assert len(call("find", *query, *ALWAYS, "--label", "version=~[0-9]", "--json").text.splitlines()) == 3
        merged = call("merge", *query, *ALWAYS).stdout
        assert canonicalize(merged).samples == canonicalize(call("merge", *ids).stdout).samples

    def test_targets_can_be_scraped(self, program: str, collector: str, tmp_path: Path) -> None:
        targets = tmp_path / "targets.json"
        targets.write_text('[{"url": "http://127.0.0.1:1", "service": "s", "profiles": ["heap"]}]')
        process = profbucket("scrape", "--targets", targets, "--spread", "0", "--url", collector, program=program)
        assert process.returncode == 1
        assert process.stderr == "profbucket: heap of http://127.0.0.1:1/debug/pprof: Connection refused\n"

    def test_keys_can_be_generated(self, program: str) -> None:
        assert profbucket("key", "create", "a", "--scope", "read", program=program).check().text

    @pytest.mark.parametrize(
        "args",
        [
            ["serve", "--storage", "memory:"],
            ["merge", str(CPU[0]), str(CPU[1])],
            ["top", str(CPU[0])],
            ["services", "--storage", "memory:"],
        ],
        ids=lambda args: args[0],
    )
    def test_other_commands_name_the_extra_to_install(self, program: str, args: list[str]) -> None:
        process = profbucket(*args, program=program)
        assert (process.returncode, process.stdout) == (1, b"")
        assert process.stderr.startswith(f"profbucket: the command {args[0]!r} needs the extra 'server': ")
        assert "pip install 'profbucket[server]'" in process.stderr
        assert "pip install -e '.[server]'" in process.stderr

    @pytest.mark.parametrize("command", ["merge", "push", "serve", "key create"])
    def test_help_needs_no_extra(self, program: str, command: str) -> None:
        assert "Usage: " in profbucket(*command.split(), "--help", program=program).check().text


@pytest.fixture(scope="module")
def packages(wheel: Path) -> Path:
    """A virtual environment with the dependencies that the extra ``server`` installs. Cached."""

    def build(directory: Path) -> None:
        run(sys.executable, "-m", "venv", "--without-pip", str(directory)).check()
        install(directory, f"{wheel}[server]")
        python = str(directory / "bin" / "python")
        run(sys.executable, "-m", "pip", "--python", python, "uninstall", "-y", "profbucket").check()

    return cached("server", f"{sys.version} {(ROOT / 'pyproject.toml').read_text()}", build)


@pytest.fixture(scope="module")
def target(wheel: Path, packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("target")
    install(packages, "--no-deps", "--no-index", "--target", directory, wheel)
    return directory


class TestServer:
    def test_it_serves(self, packages: Path, target: Path, tmp_path: Path) -> None:
        settings = {"STORAGE_URL": (tmp_path / "profiles").as_uri()}
        with serve_installed(packages, target, tmp_path / "log", ["profbucket", "serve"], **settings) as url:
            profiles = f"{url}/api/0/profiles"
            query = "service=shop&type=cpu"
            for file in CPU:
                data = file.read_bytes()
                assert (
                    urllib3.request("POST", f"{profiles}?{query}", body=data, timeout=TIMEOUT_SECONDS).status
                    == 200
                )
            answer = urllib3.request("GET", f"{profiles}/merge?{query}&from=0", timeout=TIMEOUT_SECONDS)
            assert answer.status == 200
            for path in ("/", "/ui/app.js", "/ui/speedscope/index.html", "/api/0/openapi.json"):
                assert urllib3.request("GET", f"{url}{path}", timeout=TIMEOUT_SECONDS).status == 200
        merged = tmp_path / "merged.pb.gz"
        self.call(packages, target, "merge", *map(str, CPU), "-o", str(merged)).check()
        assert canonicalize(answer.data).samples == canonicalize(merged.read_bytes()).samples

    @pytest.mark.parametrize(
        ("storage", "extra"),
        [("gs://b", "gcs"), ("s3://b?index=sqlite:///x", "s3"), ("memory:?index=firestore://p/d", "gcs")],
    )
    def test_a_storage_in_the_cloud_names_its_extra(
        self, packages: Path, target: Path, storage: str, extra: str
    ) -> None:
        process = self.call(packages, target, "services", "--storage", storage)
        assert process.returncode == 1
        assert f"pip install 'profbucket[{extra}]'" in process.stderr

    def call(self, packages: Path, target: Path, *args: str) -> Run:
        command = (str(packages / "bin" / "python"), str(target / "bin" / "profbucket"), *args)
        return run(*command, environment=clean_environment(PYTHONPATH=str(target)))


@pytest.mark.parametrize(
    ("storage", "extras"),
    [
        ("", ["server"]),
        ("memory:", ["server"]),
        ("gs://bucket?project=p", ["gcs"]),
        ("s3://bucket?index=sqlite:///file", ["s3"]),
        ("s3://bucket?index=firestore%3A%2F%2Fp%2Fd", ["gcs", "s3"]),
        ("file:///directory?index=firestore://p/d", ["gcs"]),
    ],
)
def test_make_serve_installs_what_the_storage_needs(storage: str, extras: list[str], tmp_path: Path) -> None:
    """... into an environment that has nothing yet."""
    setting = [f"STORAGE_URL={storage}"] if storage else []
    command = ["make", "--dry-run", "serve", f"VENV={tmp_path / 'venv'}", *setting]
    process = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    installed = [line for line in process.stdout.splitlines() if "--editable" in line]
    assert [line.rpartition(" ")[2] for line in installed] == [f"'.[{extra}]'" for extra in extras]


# Replaces Python; the environment that it creates has the same as its Python and as profbucket.
PYTHON_STUB = """#!/bin/sh
case "$*" in
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && cp "$0" "$3/bin/profbucket" ;;
  "-m pip "*) test ! -e "$(dirname "$0")/offline" ;;
  *) echo "$(basename "$0") $1" ;;
esac
"""


def test_make_serve_says_what_it_installs_before_it_serves(tmp_path: Path) -> None:
    python, venv = tmp_path / "program", tmp_path / "venv"
    python.write_text(PYTHON_STUB)
    python.chmod(0o755)
    command = ["make", "serve", f"VENV={venv}", f"PYTHON={python}", "STORAGE_URL=memory:"]

    def serve() -> list[str]:
        process = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        return [line.split("; ")[0] for line in process.stdout.splitlines()]

    created = f"creating a virtual environment in {venv}"
    installing = "installing profbucket[server] and its dependencies"
    assert serve() == [created, installing, "profbucket serve"]
    assert serve() == ["profbucket serve"]
    (venv / ".extra-server").unlink()
    (venv / "bin" / "offline").touch()
    assert serve() == [installing]
    (venv / "bin" / "offline").unlink()
    assert serve() == [installing, "profbucket serve"]
