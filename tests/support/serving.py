"""A collector in its own process: functions-framework serving functions/main.py, or `profbucket serve`."""

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
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.support.paths import ROOT

MAIN = ROOT / "functions" / "main.py"
SCRIPTS = Path(sysconfig.get_path("scripts"))
TIMEOUT_SECONDS = 60.0  # far more than any machine needs

_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])


@contextmanager
def served(
    storage_url: str,
    log: Path,
    *,
    target: str = "collector",
    main: Path = MAIN,
    scripts: Path = SCRIPTS,
    program: str = "functions-framework",
    **settings: str,
) -> Iterator[str]:
    """Serve the function *target* of *main* over *storage_url* until the block ends; yield its base URL.

    *scripts* is the directory with *program*, functions-framework or profbucket; *settings* are environment
    variables. The output of the process goes to *log*, and into the error if it does not start or exits early.
    """
    port = free_port()
    command = [str(scripts / program), "--host", "127.0.0.1", "--port", str(port)]
    if program == "functions-framework":
        command += ["--target", target, "--source", str(main)]
    else:
        command.insert(1, "serve")
    # Settings in the environment of the tests are meant for another collector.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PROFBUCKET_", "FUNCTION_", "K_"))}
    environment = {**inherited, **settings, "STORAGE_URL": storage_url}
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=main.parent, env=environment, stdout=output, stderr=output)
    try:
        wait_until_up(process, port, log)
        yield f"http://127.0.0.1:{port}"
        assert process.poll() is None, f"the collector exited:\n{log.read_text()}"
    finally:
        process.terminate()
        try:
            process.wait(TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def send(url: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Send a GET, or with *body* a POST, and return the status and the body of the response."""
    try:
        with urlopen(Request(url, data=body)) as response:
            return response.status, response.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()


@contextmanager
def running(server: BaseServer) -> Iterator[None]:
    """Run *server* in a thread until the block ends."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


def free_port() -> int:
    """Return a port that is free, and stays free until a server of this process binds it.

    It is below the ephemeral ports that the system assigns, and each test process chooses from different ports.
    """
    while True:
        port = 16_384 + 16 * secrets.randbelow(1024) + _WORKER % 16
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_until_up(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return once the collector answers; raise if it exits, answers with an error, or does not start in time."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        try:
            connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
            connection.request("GET", "/api/0/version")
            if connection.getresponse().status in (200, 401, 405):  # 401 with API keys, 405 from scrape
                return
            break  # it is up but broken
        except (OSError, HTTPException):
            pass  # not up yet
        finally:
            connection.close()
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        break
    raise AssertionError(f"no collector at port {port}:\n{log.read_text()}")
