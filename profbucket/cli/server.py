"""The collector on this machine: server_process.py in a child process, and periodic compaction."""

import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from types import FrameType

from profbucket import __version__
from profbucket.cli.background_compaction import background_compaction
from profbucket.cli.options import DEFAULT_URL
from profbucket.config import Config, copy_environment
from profbucket.errors import Misconfigured, ProfbucketError, StoragePermissionError, Unavailable, missing_extra
from profbucket.http_server.listener import listen
from profbucket.telemetry import logs
from profbucket.times import format_time

_ROOT = Path(__file__).parents[2]  # of a clone
_SAMPLE = _ROOT / "tests" / "data" / "shop-0.0.1" / "cpu-1.pb.gz"  # only in a clone

_SIGNAL_SECONDS = 1.0  # until a signal is handled, at most
_STARTUP_TIMEOUT_SECONDS = 60.0  # usually it takes two
_CONNECT_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - wildcards can be listened on only


@dataclass(frozen=True, slots=True)
class Server:
    """A collector and its address. *port* 0 means any free port."""

    host: str
    port: int
    storage_url: str

    def run(self, announce: Callable[[str], object]) -> int:
        """Serve until the child process exits or a signal arrives; return the exit code.

        Call *announce* with the welcome text as soon as the collector responds.

        Raises:
            Misconfigured: a setting is invalid, the port is in use, or the server is not installed.
            Unavailable: the storage cannot be opened, or the collector does not start.
            StoragePermissionError: the storage denies access.
        """
        if find_spec("httptools") is None:
            raise missing_extra("the command 'serve'", "server")
        inherited = copy_environment(STORAGE_URL=self.storage_url)
        environment = {k: v for k, v in inherited.items() if not k.startswith("FUNCTION_")}
        environment.setdefault("MALLOC_ARENA_MAX", "1")  # halves the memory: threads reuse what others have freed
        config = Config.from_env(environment)
        self.check_access(config)
        listener = _listen(self.host, self.port)
        with listener:  # from now on, only the child's copy
            server = Server(self.host, int(listener.getsockname()[1]), self.storage_url)
            _check_storage(config)
            process = server._start(environment, listener)
        try:
            server._wait_until_ready(process)
            announce(server.welcome(config, environment.get("PROFBUCKET_URL") or DEFAULT_URL))
            logs.configure(config.log_level, config.project)
            with background_compaction(config, environment):
                code = _wait(process)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        return code if code >= 0 else 128 - code

    @property
    def url(self) -> str:
        """The URL of the collector for users on this machine."""
        host = _CONNECT_ADDRESSES.get(self.host, self.host)
        if host in ("127.0.0.1", "::1"):
            host = "localhost"
        return f"http://{_bracket(host)}:{self.port}"

    def welcome(self, config: Config, default_url: str) -> str:
        """Return the text with the address and the commands that post and show a first profile.

        *default_url* is the collector that the command line uses without ``--url``.
        """
        lines = [f"profbucket {__version__} on {self.url} keeps profiles in {self.storage_url}"]
        if config.keys:
            lines.append("It requires an API key: export PROFBUCKET_KEY=… first.")
        program, sample = _program(), _shell_path(_SAMPLE) if _SAMPLE.exists() else "cpu.pb.gz"
        if not _SAMPLE.exists():
            lines += [
                "",
                "Any pprof profile will do, such as one of a Go program with net/http/pprof:",
                "",
                f"  curl -o {sample} 'http://localhost:6060/debug/pprof/profile?seconds=5'",
            ]
        url_option = "" if default_url == self.url else f" --url {self.url}"
        api, header, quote = f"{self.url}/api/0/profiles", "", "'"
        pprof_api, start = api, _sample_start()
        if config.keys:
            header, quote = ' -H "Authorization: Bearer $PROFBUCKET_KEY"', '"'
            pprof_api = api.replace("//", "//x:$PROFBUCKET_KEY@", 1)
        return "\n".join(
            [
                *lines,
                "",
                "Post a first profile, from another terminal:",
                "",
                f"  curl{header} --data-binary @{sample} '{api}?service=shop&type=cpu&version=0.0.1'",
                f"  {program} push {sample} --service shop --type cpu --label version=0.0.1{url_option}",
                "",
                "Look at it:",
                "",
                f"  go tool pprof -top {quote}{pprof_api}/merge?service=shop&type=cpu&from={start}{quote}",
                f"  {program} top --service shop --type cpu --from {start}{url_option}",
                f"  {self.url}/?service=shop&type=cpu&from={start}   in a browser",
                "",
            ]
        )

    def check_access(self, config: Config) -> None:
        """Raise ``Misconfigured`` if other machines can reach the address and no setting says who may use it."""
        if config.keys is None and not config.anonymous and not _is_loopback(self.host):
            raise Misconfigured(
                f"other machines can reach {self.host}, and there are no API keys: set PROFBUCKET_KEYS (run"
                " `profbucket key create`), or PROFBUCKET_ANONYMOUS=1 to serve anyone"
            )

    def _start(self, environment: Mapping[str, str], listener: socket.socket) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "profbucket.cli.server_process", str(listener.fileno())]
        # In a session of its own: signals of the terminal arrive here, and are forwarded.
        process = subprocess.Popen(  # noqa: S603 - this program
            command, env=environment, pass_fds=[listener.fileno()], start_new_session=True
        )

        signals = [signal.SIGINT, signal.SIGTERM]  # from the end: finish requests, exit now, and then SIGKILL

        def forward(_: int, __: FrameType | None) -> None:
            process.send_signal(signals.pop() if signals else signal.SIGKILL)

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP
                signal.signal(number, forward)
        return process

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Return once the collector responds; raise ``Unavailable`` if it exits, fails or times out."""
        deadline = time.monotonic() + _STARTUP_TIMEOUT_SECONDS
        while (remaining := deadline - time.monotonic()) > 0:
            try:
                host = _CONNECT_ADDRESSES.get(self.host, self.host)
                with closing(HTTPConnection(host, self.port, timeout=remaining)) as connection:
                    connection.request("GET", "/healthz")
                    if (status := connection.getresponse().status) < 500:
                        return
                raise Unavailable(f"the collector answers {status} to every request; its output above says why")
            except (OSError, HTTPException):
                pass  # not yet
            try:
                code = process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            raise Unavailable(f"the collector exited with code {code} before it responded")
        raise Unavailable(f"the collector did not respond within {_STARTUP_TIMEOUT_SECONDS:.0f} seconds")


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Return the exit code of *process*. Signals that arrive in the meantime are handled within a second.

    One that arrives just before a blocking call would be handled only when *process* has ended.
    """
    thread = threading.Thread(target=process.wait, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_SIGNAL_SECONDS)
    return process.wait()


def _is_loopback(host: str) -> bool:
    """Return whether only this machine can reach *host*; also true if it does not resolve: listening will fail."""
    try:
        addresses = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    except OSError:
        return True
    return all(ip_address(address.partition("%")[0]).is_loopback for address in addresses)


def _check_storage(config: Config) -> None:
    try:
        config.open_storage().index.services()
    except (Unavailable, StoragePermissionError) as error:
        raise error.about(config.storage_url) from None


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on *port*, or on a free one for 0; raise ``Misconfigured`` if none can."""
    try:
        return listen(host, port)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Misconfigured(
            f"cannot listen on {host} port {port}: {reason.lower()}; choose another port with --port (make: PORT=)"
        ) from None


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _program() -> str:
    """Return the command that runs this program from the current directory."""
    found = shutil.which("profbucket")
    return "profbucket" if found and Path(found).samefile(sys.argv[0]) else _shell_path(Path(sys.argv[0]))


def _shell_path(path: Path) -> str:
    path = path.absolute()
    return shlex.quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))


def _sample_start() -> str:
    """Return a start of the time range that includes the sample profile."""
    if not _SAMPLE.exists():
        return "now-1h"
    from profbucket.pprof import decode

    try:
        return format_time(decode(_SAMPLE.read_bytes()).time_nanos).removesuffix("Z")
    except ProfbucketError:
        return "now-1h"
