"""The terraform command, on a copy of the deployed files, with providers that need no cloud."""

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
REQUIRED = "PROFBUCKET_REQUIRE_TERRAFORM"  # set in CI, where a missing terraform is a failure

# Packages on PyPI: the plugin protocol, and the schemas of hashicorp/google 8.7.0 and hashicorp/archive 2.8.1.
PROTOCOL = "tf==1.2.0"
BINDINGS = ("cdktn-provider-google==21.1.0", "cdktn-provider-archive==14.0.1", "cdktn-provider-time==14.0.2")

# Everything that terraform reads.
CODE = ("functions", "profbucket", "storage_gcs", "storage_local")
# The part of it that terraform evaluates; the rest only goes into the archive.
DATA = ("functions", "profbucket/limits.py", "storage_gcs/indexes.json")


@dataclass(frozen=True, slots=True)
class Terraform:
    """The command, the copy of the repository that it runs on, and its environment."""

    path: str
    root: Path
    environment: Mapping[str, str] = field(repr=False)

    def __call__(self, *args: str) -> Run:
        return gotool.run(self.path, *args, cwd=self.root / "terraform", environment=self.environment)

    def apply(self, *options: str, **variables: object) -> "State":
        """Apply with *options* and *variables*, and return the new state."""
        self("apply", "-auto-approve", "-no-color", *options, *_arguments(variables)).check()
        return State(json.loads(self("show", "-json").check().text)["values"])

    def plan(self, **variables: object) -> Run:
        """Plan with *variables*. The exit code is 0 without changes and 2 with changes."""
        return self("plan", "-detailed-exitcode", "-no-color", *_arguments(variables))

    def plan_changes(self, *options: str, **variables: object) -> dict[str, list[str]]:
        """Plan with *options* and *variables*, and return what happens to each resource, by address."""
        self("plan", "-out=plan", "-no-color", *options, *_arguments(variables)).check()
        changes = json.loads(self("show", "-json", "plan").check().text)["resource_changes"]
        return {change["address"]: change["change"]["actions"] for change in changes}


class State:
    """The resources and outputs after an apply."""

    def __init__(self, values: Any) -> None:
        outputs = values.get("outputs", {})
        self.outputs: dict[str, Any] = {name: output["value"] for name, output in outputs.items()}
        self._resources: list[Any] = values["root_module"]["resources"]

    def all(self, resource_type: str = "") -> dict[str, Any]:
        """Return the values of each resource, of *resource_type* if given, by address without the type."""
        return {
            resource["address"].removeprefix(f"{resource_type}."): resource["values"]
            for resource in self._resources
            if resource_type in ("", resource["type"]) and resource["mode"] == "managed"
        }

    def files(self) -> dict[str, str]:
        """Return the content of each file in the archive, by path."""
        archive = next(
            resource["values"] for resource in self._resources if resource["address"] == "data.archive_file.source"
        )
        return {source["filename"]: source["content"] for source in archive["source"]}


def _arguments(variables: Mapping[str, object]) -> list[str]:
    values = {"project": "my-project", **variables}
    return [
        f"-var={name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in values.items()
    ]


def find_terraform() -> str:
    """Return the path of the command. Without one, fail the test in CI and skip it elsewhere."""
    path = shutil.which("terraform")
    if path is None:
        message = (
            "terraform is not installed; see https://developer.hashicorp.com/terraform/install (1.9 or newer)"
        )
        if os.environ.get(REQUIRED) == "1":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    return path


def copy_deployed(root: Path, code: tuple[str, ...] = CODE) -> None:
    """Copy *code* and terraform/ to *root*, so that terraform leaves nothing in the work tree."""
    ignore = shutil.ignore_patterns(".terraform*", "*.tfstate*", "__pycache__")
    for name in ("terraform", *code):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=ignore)
        else:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)


def registry_environment() -> dict[str, str]:
    """Return the environment for a terraform init that caches the providers between runs."""
    plugins = CACHE / "plugins"
    plugins.mkdir(parents=True, exist_ok=True)
    return _environment(TF_PLUGIN_CACHE_DIR=str(plugins), TF_REGISTRY_CLIENT_TIMEOUT="5")


@contextmanager
def stub_environment() -> Iterator[dict[str, str]]:
    """Start the stub and yield an environment in which terraform uses it in place of its providers."""
    home = cached("provider", f"{PROTOCOL} {BINDINGS}", _download_packages)
    sources = "\n".join(path.read_text() for path in sorted((ROOT / "terraform").glob("*.tf")))
    types = sorted(
        f"data.{name}" if block == "data" else name
        for block, name in set(re.findall(r'^(resource|data) "(\w+)"', sources, re.M))
    )
    key = f"{home} {types} {STUB.with_name('provider_bindings.py').read_text()}"
    schemas = cached("schemas", key, lambda directory: _write_schemas(home, types, directory))
    command = [str(home / "bin" / "python"), str(STUB), str(schemas)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        providers = process.stdout.readline()
        assert providers, "the stub did not start; see its standard error"
        yield _environment(TF_CLI_CONFIG_FILE=os.devnull, TF_REATTACH_PROVIDERS=providers)


def _environment(**settings: str) -> dict[str, str]:
    # Ignore the developer's TF_LOG and TF_VAR_…, but keep the setting that says where providers come from.
    kept = {name: value for name, value in os.environ.items() if name[:3] != "TF_" or name == "TF_CLI_CONFIG_FILE"}
    # Collect garbage less often than Go does by default, for a quarter less CPU time and twice the memory.
    return {**kept, "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", "GOGC": "400", **settings}


def _download_packages(directory: Path) -> None:
    make_environment(directory, PROTOCOL)
    run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(directory), *BINDINGS)


def _write_schemas(home: Path, types: list[str], directory: Path) -> None:
    for wheel in home.glob("*.whl"):
        provider = wheel.name.partition("-")[0].rpartition("_")[2]
        provider_types = [name for name in types if name.removeprefix("data.").startswith(f"{provider}_")]
        (directory / f"{provider}.json").write_text(json.dumps(read_schema(wheel, provider_types)))
