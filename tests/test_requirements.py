"""What is deployed is what pyproject.toml asks for, pinned. `make requirements` makes these claims true again."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.paths import ROOT
from tests.support.requirements import CONTAINER, FUNCTIONS, pinned_environment, read_pins

FILES = [pytest.param(FUNCTIONS, id="functions"), pytest.param(CONTAINER, id="container")]
STALE = "run `make requirements`"


def asked_for(file: Path) -> list[Requirement]:
    """What pyproject.toml asks for: of the functions the base and Google's cloud, of the container everything."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project.get("optional-dependencies", {})
    wanted = ["gcs"] if file == FUNCTIONS else sorted(extras)
    return [Requirement(text) for text in sum((extras[name] for name in wanted), project["dependencies"])]


@pytest.mark.parametrize("file", FILES)
def test_each_dependency_has_a_pin_that_satisfies_it(file: Path) -> None:
    pins = {canonicalize_name(pin.name): pin for pin in read_pins(file)}
    for wanted in asked_for(file):
        pin = pins.get(canonicalize_name(wanted.name))
        assert pin, f"{wanted.name} has no pin: {STALE}"
        assert wanted.specifier.contains(_version(pin)), f"{pin} is not {wanted}: {STALE}"


@pytest.mark.parametrize("file", FILES)
def test_everything_is_pinned_to_one_version(file: Path) -> None:
    assert all(_version(pin) for pin in read_pins(file))
    names = [canonicalize_name(pin.name) for pin in read_pins(file)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("file", FILES)
def test_no_machine_and_no_host_is_in_it(file: Path) -> None:
    assert not re.search(r"://|/[a-z]+/|--|@", re.sub(r"#.*", "", file.read_text()))
    assert not re.search(r"://|/home|/root|/work", file.read_text())


@pytest.mark.parametrize("file", FILES)
def test_what_the_packages_need_is_pinned_and_nothing_else(file: Path) -> None:
    """No package came along unpinned when the file was installed, and none is there for no reason."""
    environment = pinned_environment(file)
    site = next(environment.glob("lib/python*/site-packages"))
    installed = {canonicalize_name(found.name): found for found in metadata.distributions(path=[str(site)])}
    pins = {canonicalize_name(pin.name) for pin in read_pins(file)}
    assert installed.keys() == pins, STALE
    needed: set[tuple[str, str]] = set()  # packages, each with one of its extras, or none
    queue = list(_asked(asked_for(file), ""))
    while queue:
        if (one := queue.pop()) not in needed:
            needed.add(one)
            queue += _asked(map(Requirement, installed[canonicalize_name(one[0])].requires or ()), one[1])
    assert {name for name, _ in needed} == pins, STALE


@pytest.mark.parametrize("file", FILES)
def test_the_pins_agree_with_each_other(file: Path) -> None:
    python = str(pinned_environment(file) / "bin" / "python")
    checked = subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


def _asked(requirements: Iterable[Requirement], extra: str) -> Iterator[tuple[str, str]]:
    for one in requirements:
        if one.marker is None or one.marker.evaluate({"extra": extra}):
            for inner in ("", *one.extras):
                yield canonicalize_name(one.name), inner


def _version(pin: Requirement) -> str:
    """The one version that *pin* takes."""
    exact = re.fullmatch(r"==([^*,]+)", str(pin.specifier))
    return exact[1] if exact else ""
