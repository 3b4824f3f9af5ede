"""The terraform command, on a copy of what it deploys, with providers that need no cloud."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support import go_tool as gotool
from tests.support.cache import CACHE, cached, make_environment, run
from tests.support.go_tool import Run
from tests.support.paths import ROOT
from tests.support.terraform.provider_bindings import read_schema

STUB = Path(__file__).parent / "provider_stub.py"
REQUIRED = "PROFBUCKET_REQUIRE_TERRAFORM"  # set in CI: there, a missing terraform is a failure

# PyPI has these: the plugin protocol, and the schemas of hashicorp/google 8.7.0 and hashicorp/archive 2.8.1.
PROTOCOL = "tf==1.2.0"
BINDINGS = ("cdktn-provider-google==21.1.0", "cdktn-provider-archive==14.0.1")

# What terraform reads; the rest of the repository is no business of it.
CODE = ("functions", "profbucket", "storage_gcs", "storage_local")
# What of it decides on more than the archive's content.
DATA = ("functions", "profbucket/limits.py", "storage_gcs/indexes.json")


@dataclass(frozen=True, slots=True)
class Terraform:
    """The command, the copy of the repository that it works on, and its environment."""

    path: str
    root: Path
    environment: Mapping[str, str] = field(repr=False)

    def __call__(self, *args: str) -> Run:
        return gotool.run(self.path, *args, cwd=self.root / "terraform", environment=self.environment)

    def apply(self, **variables: object) -> "State":
        """Apply with *variables*, and return what stands then."""
        self("apply", "-auto-approve", "-no-color", *_given(variables)).check()
        return State(json.loads(self("show", "-json").check().text)["values"])

    def plan(self, **variables: object) -> Run:
        """Plan with *variables*; the exit code is 0 where nothing is to be done, and 2 where something is."""
        return self("plan", "-detailed-exitcode", "-no-color", *_given(variables))


class State:
    """What stands after an apply."""

    def __init__(self, values: Any) -> None:
        self.outputs: dict[str, Any] = {name: output["value"] for name, output in values["outputs"].items()}
        self._resources: list[Any] = values["root_module"]["resources"]

    def all(self, kind: str = "") -> dict[str, Any]:
        """The values of each resource, of a *kind* if given, by its address without the kind."""
        return {
            one["address"].removeprefix(f"{kind}."): one["values"]
            for one in self._resources
            if kind in ("", one["type"]) and one["mode"] == "managed"
        }

    def files(self) -> dict[str, str]:
        """What is in the archive, as terraform listed it: contents by their paths."""
        archive = next(one["values"] for one in self._resources if one["address"] == "data.archive_file.source")
        return {source["filename"]: source["content"] for source in archive["source"]}


def _given(variables: Mapping[str, object]) -> list[str]:
    given = {"project": "my-project", **variables}
    return [
        f"-var={name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in given.items()
    ]


def find_terraform() -> str:
    """Where the command is; without one the test is skipped, or fails where it is required."""
    path = shutil.which("terraform")
    if path is None:
        sentence = (
            "terraform is not installed: https://developer.hashicorp.com/terraform/install has it, 1.9 or newer"
        )
        if os.environ.get(REQUIRED) == "1":
            pytest.fail(sentence, pytrace=False)
        pytest.skip(sentence)
    return path


def copy_deployed(root: Path, code: tuple[str, ...] = CODE) -> None:
    """Copy what terraform reads below *root*: nothing is left in the work tree, and a test may change it."""
    ignore = shutil.ignore_patterns(".terraform*", "*.tfstate*", "__pycache__")
    for name in ("terraform", *code):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=ignore)
        else:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)


def registry_environment() -> dict[str, str]:
    """The environment for a terraform init; the providers that it fetches are kept between runs."""
    plugins = CACHE / "plugins"
    plugins.mkdir(parents=True, exist_ok=True)
    return _environment(TF_PLUGIN_CACHE_DIR=str(plugins), TF_REGISTRY_CLIENT_TIMEOUT="5")


@contextmanager
def stub_environment() -> Iterator[dict[str, str]]:
    """The environment in which terraform finds the stub where it looks for its providers."""
    home = cached("provider", f"{PROTOCOL} {BINDINGS}", _fetch)
    sources = "\n".join(path.read_text() for path in sorted((ROOT / "terraform").glob("*.tf")))
    kinds = sorted(
        f"data.{kind}" if word == "data" else kind
        for word, kind in set(re.findall(r'^(resource|data) "(\w+)"', sources, re.M))
    )
    key = f"{home} {kinds} {STUB.with_name('provider_bindings.py').read_text()}"
    schemas = cached("schemas", key, lambda directory: _schemas(home, kinds, directory))
    command = [str(home / "bin" / "python"), str(STUB), str(schemas)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        where = process.stdout.readline()
        assert where, "the stub did not start: what it wrote says why"
        yield _environment(TF_CLI_CONFIG_FILE=os.devnull, TF_REATTACH_PROVIDERS=where)


def _environment(**settings: str) -> dict[str, str]:
    # TF_LOG or TF_VAR_… of the person who runs the tests are not for them; where providers come from is.
    kept = {name: value for name, value in os.environ.items() if name[:3] != "TF_" or name == "TF_CLI_CONFIG_FILE"}
    return {**kept, "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", **settings}


def _fetch(directory: Path) -> None:
    make_environment(directory, PROTOCOL)
    run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(directory), *BINDINGS)


def _schemas(home: Path, kinds: list[str], directory: Path) -> None:
    for wheel in home.glob("*.whl"):
        name = wheel.name.partition("-")[0].rpartition("_")[2]
        wanted = [kind for kind in kinds if kind.removeprefix("data.").startswith(f"{name}_")]
        (directory / f"{name}.json").write_text(json.dumps(read_schema(wheel, wanted)))
