"""The pinned packages are those that pyproject.toml requires. After a change, run `make requirements`."""

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


def direct_requirements(file: Path) -> list[Requirement]:
    """Return what pyproject.toml requires.

    The functions need the extra ``gcs`` and the group ``functions``, and the container all extras.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    requirements: dict[str, Requirement] = {}
    queue = ["gcs"] if file == FUNCTIONS else sorted(extras)
    if file == FUNCTIONS:
        requirements |= {line.name: line for line in map(Requirement, project["dependency-groups"]["functions"])}
    while queue:
        for requirement in map(Requirement, extras[queue.pop()]):
            if requirement.name == "profbucket":  # an extra that includes another
                queue += requirement.extras
            else:
                requirements[requirement.name] = requirement
    return list(requirements.values())


def test_the_base_distribution_requires_nothing() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"] == []


@pytest.mark.parametrize("file", FILES)
def test_each_requirement_has_a_pin_that_satisfies_it(file: Path) -> None:
    pins = {canonicalize_name(pin.name): pin for pin in read_pins(file)}
    requirements = direct_requirements(file)
    assert {"flask", "google-cloud-storage"} <= {requirement.name for requirement in requirements}
    for requirement in requirements:
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin, f"{requirement.name} has no pin: {STALE}"
        assert requirement.specifier.contains(_version(pin)), f"{pin} is not {requirement}: {STALE}"


@pytest.mark.parametrize("file", FILES)
def test_everything_is_pinned_to_one_version(file: Path) -> None:
    assert all(_version(pin) for pin in read_pins(file))
    names = [canonicalize_name(pin.name) for pin in read_pins(file)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("file", FILES)
def test_each_pin_has_hashes(file: Path) -> None:
    """Another file of the same version is not installed."""
    pins = re.split(r"\n(?=[a-z0-9])", re.sub(r"(?m)^ *#.*\n", "", file.read_text()))
    assert len(pins) > 20
    assert all("--hash=sha256:" in pin for pin in pins)


@pytest.mark.parametrize("file", FILES)
def test_it_names_no_machine_and_no_host(file: Path) -> None:
    without_hashes = re.sub(r"#.*|--hash=sha256:[0-9a-f]{64}", "", file.read_text())
    assert not re.search(r"://|/[a-z]+/|--|@", without_hashes)
    assert not re.search(r"://|/home|/root|/work", file.read_text())


@pytest.mark.parametrize("file", FILES)
def test_the_transitive_requirements_are_pinned_and_nothing_else(file: Path) -> None:
    """No package was installed without a pin, and every pin is required."""
    environment = pinned_environment(file)
    site = next(environment.glob("lib/python*/site-packages"))
    installed = {canonicalize_name(found.name): found for found in metadata.distributions(path=[str(site)])}
    pins = {canonicalize_name(pin.name) for pin in read_pins(file)}
    assert installed.keys() == pins, STALE
    required: set[tuple[str, str]] = set()  # packages, each with one of its extras, or ""
    queue = list(_names_and_extras(direct_requirements(file), ""))
    while queue:
        if (package := queue.pop()) not in required:
            required.add(package)
            name, extra = package
            requirements = map(Requirement, installed[canonicalize_name(name)].requires or ())
            queue += _names_and_extras(requirements, extra)
    assert {name for name, _ in required} == pins, STALE


@pytest.mark.parametrize("file", FILES)
def test_the_pins_are_compatible(file: Path) -> None:
    python = str(pinned_environment(file) / "bin" / "python")
    process = subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "check"], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stdout


def _names_and_extras(requirements: Iterable[Requirement], extra: str) -> Iterator[tuple[str, str]]:
    for requirement in requirements:
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            for name in ("", *requirement.extras):
                yield canonicalize_name(requirement.name), name


def _version(pin: Requirement) -> str:
    """Return the only version that *pin* admits, or ``""`` if there are several."""
    exact = re.fullmatch(r"==([^*,]+)", str(pin.specifier))
    return exact[1] if exact else ""
