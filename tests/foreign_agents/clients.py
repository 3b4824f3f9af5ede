"""Programs with agents of other systems, and what a collector stored of them."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from profbucket.storage.store import Storage
from tests.foreign_agents.refusals import Refusals
from tests.support.cache import cached, make_environment, run
from tests.support.go_tool import GoPprof

_TIMEOUT_SECONDS = 240.0  # some agents take half a minute to start on a busy machine
_ENOUGH_SECONDS = 2  # of samples, a hundred or more: their shares are within a few percent
_PER_SECOND = {"nanoseconds": 10**9, "microseconds": 10**6}

PROGRAMS = Path(__file__).with_name("programs")


@dataclass(frozen=True, slots=True)
class Client:
    """A process that works and sends profiles."""

    process: subprocess.Popen[bytes]
    output: IO[bytes]

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Return once *condition* holds; fail with the output if it never does, or the process exits."""
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while not condition():
            try:
                self.process.wait(0.2)
            except subprocess.TimeoutExpired:
                if time.monotonic() < deadline:
                    continue
            self.output.seek(0)
            raise AssertionError(f"{self.process.args!r}\n{self.output.read().decode(errors='replace')}")


@dataclass(frozen=True, slots=True)
class KeyedCollector:
    """A collector that requires *secret*, if it is not empty."""

    url: str
    secret: str = field(repr=False)
    storage: Storage
    refusals: Refusals

    def get(self, path: str, **query: str) -> Any:
        """Return the JSON that the collector answers with."""
        request = Request(f"{self.url}{path}?{urlencode(query)}", headers={"X-Api-Key": self.secret})
        with urlopen(request) as response:
            return json.load(response)

    def find(self, service: str) -> list[Any]:
        """Return the profiles of *service*."""
        try:
            profiles: list[Any] = self.get("/api/0/profiles", service=service, **{"from": "now-1h"})["body"]
        except HTTPError as error:
            error.close()
            if error.code != 404:
                raise
            return []
        return profiles

    def types(self, service: str) -> set[str]:
        """Return the types of the profiles of *service*."""
        return {profile["type"] for profile in self.find(service)}

    def share_of_hot(self, go_pprof: GoPprof, service: str, profile_type: str) -> float:
        """Return the percentage of the function ``hot`` in a merge, of what it and ``cold`` use together."""
        query = urlencode({"service": service, "type": profile_type, "from": "now-1h"})
        url = f"{self.url.replace('://', f'://x:{self.secret}@') if self.secret else self.url}/merge?{query}"
        # The names of Node are path:function:line.
        options = ("-nodefraction=0", "-relative_percentages", r"-focus=(^|:)(hot|cold)(:|$)")
        text = go_pprof("-top", "-cum", *options, url).check().text
        match = re.search(r"(\d+(?:\.\d+)?)%\s+(?:\S*:)?hot(?::\d+)?$", text, re.MULTILINE)
        assert match, text
        return float(match[1])

    def has_enough(self, service: str, *profile_types: str) -> bool:
        """Return whether the profiles of each of *profile_types* are of enough seconds."""
        seconds = dict.fromkeys(profile_types, 0.0)
        for profile in self.find(service):
            if profile["type"] in seconds:
                totals = [total for total in profile["totals"] if total["unit"] in _PER_SECOND]
                seconds[profile["type"]] += totals[0]["value"] / _PER_SECOND[totals[0]["unit"]]
        return all(value >= _ENOUGH_SECONDS for value in seconds.values())


@contextmanager
def running_python(
    packages: tuple[str, ...], program: str, *arguments: str, **environment: str
) -> Iterator[Client]:
    """Run *program* of ``programs/`` with *packages*, which the first call installs, until the block ends.

    Without packages, it runs in the environment of the tests, which has profbucket's agent.
    """
    python = sys.executable
    if packages:
        key = f"{sys.version} {packages}"
        name = "-".join(packages).replace("=", "")
        directory = _installed(name, key, lambda path: make_environment(path, *packages))
        python = str(directory / "bin" / "python")
    with _running([python, str(PROGRAMS / program), *arguments], environment) as client:
        yield client


@contextmanager
def running_node(packages: tuple[str, ...], program: str, *arguments: str, **environment: str) -> Iterator[Client]:
    """Run *program* of ``programs/`` with npm *packages*, which the first call installs, until the block ends.

    One of them may be ``node``, for clients that need a newer one than the machine may have.
    """

    def install(directory: Path) -> None:
        run("npm", "install", "--silent", "--prefix", str(directory), *packages)

    name = "-".join(packages).replace("/", "-").replace("@", "")
    directory = _installed(name, str(packages), install) / "node_modules"
    node = directory / ".bin" / "node"
    environment = {"NODE_PATH": str(directory), **environment}
    command = [str(node) if node.exists() else "node", str(PROGRAMS / program), *arguments]
    with _running(command, environment) as client:
        yield client


def _installed(name: str, key: str, install: Callable[[Path], None]) -> Path:
    """Return the directory that *install* fills; skip the test if it fails, except in CI."""
    try:
        return cached(name, key, install)
    except (AssertionError, FileNotFoundError) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"cannot install {name}: {str(error)[:300]}")


@contextmanager
def _running(command: list[str], environment: Mapping[str, str]) -> Iterator[Client]:
    with TemporaryFile() as output:
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdin=subprocess.PIPE, stdout=output, stderr=output
        )
        try:
            yield Client(process, output)
        finally:
            process.kill()
            process.communicate()
