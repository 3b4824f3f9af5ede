"""A collector in a process of its own, as it runs in the cloud: functions-framework serving functions/main.py."""

import os
import secrets
import socket
import subprocess
import sysconfig
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from socketserver import BaseServer

from tests.support.paths import ROOT

MAIN = ROOT / "functions" / "main.py"
SCRIPTS = Path(sysconfig.get_path("scripts"))
PATIENCE = 60.0  # seconds; far more than it takes anywhere

_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])


@contextmanager
def served(
    storage_url: str,
    log: Path,
    *,
    target: str = "collector",
    main: Path = MAIN,
    scripts: Path = SCRIPTS,
    **settings: str,
) -> Iterator[str]:
    """Serve *target* of *main* over *storage_url* until the block ends; gives its base URL.

    The framework is that of *scripts*, an environment's programs. What the process writes goes to *log*, and into
    the error if it does not come up or does not stay up.
    """
    port = free_port()
    command = [str(scripts / "functions-framework"), "--target", target]
    command += ["--source", str(main), "--host", "127.0.0.1", "--port", str(port)]
    # What the tests' own environment says of some other collector is not meant here.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PROFBUCKET_", "FUNCTION_", "K_"))}
    environment = {**inherited, **settings, "STORAGE_URL": storage_url}
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=main.parent, env=environment, stdout=output, stderr=output)
    try:
        wait(process, port, log)
        yield f"http://127.0.0.1:{port}"
        assert process.poll() is None, f"the collector died:\n{log.read_text()}"
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def running(server: BaseServer) -> Iterator[None]:
    """Let *server* answer in a thread until the block ends."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


def free_port() -> int:
    """A port that nobody has, nor is given by chance before the server is up that it is for.

    It is below those that the system gives to connections, and other processes of tests take theirs from others.
    """
    while True:
        port = 16_384 + 16 * secrets.randbelow(1024) + _WORKER % 16
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            connection.request("GET", "/api/0/version")
            if connection.getresponse().status in (200, 401, 405):  # 401 where it has keys, 405 of scrape
                return
            break  # it is up, and broken
        except (OSError, HTTPException):
            pass  # not yet
        finally:
            connection.close()
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        break
    raise AssertionError(f"no collector at port {port}:\n{log.read_text()}")
