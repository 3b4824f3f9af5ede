"""The collector on this machine: functions/main.py under functions-framework, in a process of its own."""

import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from ipaddress import ip_address
from pathlib import Path
from types import FrameType

from profbucket import __version__
from profbucket.cli.background_compaction import upkeep
from profbucket.cli.options import DEFAULT_URL
from profbucket.config import Config, copy_environment
from profbucket.errors import Misconfigured, ProfbucketError, StoragePermissionError, Unavailable
from profbucket.storage.open import open_storage
from profbucket.telemetry import logs
from profbucket.times import format_time

ROOT = Path(__file__).parents[2]  # profbucket/ and functions/ are siblings, in the repository and installed
MAIN = ROOT / "functions" / "main.py"
SAMPLE = ROOT / "tests" / "data" / "shop-0.0.1" / "cpu-1.pb.gz"  # not there where profbucket is installed

_THREADS = "16"  # requests at once; a merge waits for its storage most of the time
_PATIENCE = 60.0  # seconds until it must answer; it takes two
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what to call is not what to listen on


@dataclass(frozen=True, slots=True)
class Server:
    """Where the collector listens and what it serves. *port* 0 is any that is free."""

    host: str
    port: int
    storage_url: str

    def run(self, say: Callable[[str], None]) -> int:
        """Serve until it ends or a signal ends it, and return its exit code.

        *say* is called once it answers. Raise ``Misconfigured`` or ``Unavailable``, before anything is served, for
        settings that are wrong, a storage that cannot be opened, or a port that is taken.
        """
        inherited = copy_environment(STORAGE_URL=self.storage_url)
        settings = {k: v for k, v in inherited.items() if not k.startswith("FUNCTION_") and k != "DEBUG"}
        settings.setdefault("THREADS", _THREADS)
        settings.setdefault("MALLOC_ARENA_MAX", "1")  # half the memory: a thread uses what another has freed
        config = Config.from_env(settings)
        self.check_open(config)
        here = Server(self.host, _free_port(self.host, self.port), self.storage_url)
        _check_storage(config)
        process = here._start(settings)
        try:
            here._wait(process)
            say(here.welcome(config, settings.get("PROFBUCKET_URL") or DEFAULT_URL))
            logs.configure(config.log_level, config.project)
            with upkeep(config, settings):
                code = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        return code if code >= 0 else 128 - code

    @property
    def url(self) -> str:
        """What a person on this machine calls it by."""
        host = _ANYWHERE.get(self.host, self.host)
        if host in ("127.0.0.1", "::1"):
            host = "localhost"
        return f"http://{_bracketed(host)}:{self.port}"

    def welcome(self, config: Config, expected_url: str) -> str:
        """Where it is, and the commands that post a first profile and look at it.

        *expected_url* is the collector that the command line talks to without being told.
        """
        about = [f"profbucket {__version__} on {self.url} keeps profiles in {self.storage_url}"]
        if config.keys:
            about.append("It asks for a key: export PROFBUCKET_KEY=… first.")
        program, first = _program(), _shown_path(SAMPLE) if SAMPLE.exists() else "cpu.pb.gz"
        if not SAMPLE.exists():
            about += [
                "",
                "Any pprof is a first profile, as of a Go program with net/http/pprof:",
                "",
                f"  curl -o {first} 'http://localhost:6060/debug/pprof/profile?seconds=5'",
            ]
        url = "" if expected_url == self.url else f" --url {self.url}"
        api, header, quote = f"{self.url}/api/0/profiles", "", "'"
        pprof_api, since = api, _since()
        if config.keys:
            header, quote = ' -H "Authorization: Bearer $PROFBUCKET_KEY"', '"'
            pprof_api = api.replace("//", "//x:$PROFBUCKET_KEY@", 1)
        return "\n".join(
            [
                *about,
                "",
                "Post a first profile, from another terminal:",
                "",
                f"  curl{header} --data-binary @{first} '{api}?service=shop&type=cpu&version=0.0.1'",
                f"  {program} push {first} --service shop --type cpu --label version=0.0.1{url}",
                "",
                "Look at it:",
                "",
                f"  go tool pprof -top {quote}{pprof_api}/merge?service=shop&type=cpu&from={since}{quote}",
                f"  {program} top --service shop --type cpu --from {since}{url}",
                f"  {self.url}/?service=shop&type=cpu&from={since}   in a browser",
                "",
            ]
        )

    def check_open(self, config: Config) -> None:
        """Raise ``Misconfigured`` for an address that others reach, and nothing that says who may."""
        if config.keys is None and not config.anonymous and not _is_loopback(self.host):
            raise Misconfigured(
                f"{self.host} is reached by others, and there are no keys: set PROFBUCKET_KEYS (`profbucket key "
                "create` makes one), or PROFBUCKET_ANONYMOUS=1 to serve anyone"
            )

    def _start(self, settings: Mapping[str, str]) -> subprocess.Popen[bytes]:
        if not MAIN.exists():
            raise Misconfigured(f"{MAIN} is not there: profbucket/ and functions/ stand side by side")
        command = [sys.executable, "-m", "functions_framework", "--target", "collector", "--source", str(MAIN)]
        command += ["--host", _bracketed(self.host), "--port", str(self.port)]
        # In a session of its own: what the terminal sends reaches us, and it gets what we make of it. Left to
        # itself the server takes the end of the terminal (SIGHUP) for a wish to read its settings again.
        process = subprocess.Popen(command, env=settings, start_new_session=True)  # noqa: S603 - ourselves

        signals = [signal.SIGINT, signal.SIGTERM]  # the first of all lets requests end, a second one does not

        def forward(_: int, __: FrameType | None) -> None:
            process.send_signal(signals.pop() if signals else signal.SIGKILL)

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                signal.signal(number, forward)
        return process

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        """Return once it answers; raise ``Unavailable`` where it ends or fails instead."""
        deadline = time.monotonic() + _PATIENCE
        while (left := deadline - time.monotonic()) > 0:
            try:
                with closing(HTTPConnection(_ANYWHERE.get(self.host, self.host), self.port, timeout=left)) as call:
                    call.request("GET", "/healthz")
                    if (status := call.getresponse().status) < 500:
                        return
                raise Unavailable(f"the collector answers {status} to everything: what it wrote says why")
            except (OSError, HTTPException):
                pass  # not yet
            try:
                code = process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            raise Unavailable(f"the collector ended with code {code} before it answered")
        raise Unavailable(f"the collector did not answer within {_PATIENCE:.0f} seconds")


def _is_loopback(host: str) -> bool:
    """Whether only this machine reaches *host*. That it is no address at all is found when it is listened on."""
    try:
        addresses = {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except OSError:
        return True
    return all(ip_address(address.partition("%")[0]).is_loopback for address in addresses)


def _check_storage(config: Config) -> None:
    try:
        open_storage(config.storage_url).services()
    except (Unavailable, StoragePermissionError) as error:
        raise error.about(config.storage_url) from None


def _free_port(host: str, port: int) -> int:
    """*port*, or one that is free for 0. Raise ``Misconfigured`` where nobody can listen there."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Misconfigured(
            f"nothing can listen on {host} port {port}: {reason.lower()}; choose another with --port (make: PORT=)"
        ) from None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _program() -> str:
    """How to call this program from here."""
    found = shutil.which("profbucket")
    return "profbucket" if found and Path(found).samefile(sys.argv[0]) else _shown_path(Path(sys.argv[0]))


def _shown_path(path: Path) -> str:
    path = path.absolute()
    return shlex.quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))


def _since() -> str:
    """A beginning of time that the first profile is not before."""
    if not SAMPLE.exists():
        return "now-1h"
    from profbucket.pprof import decode

    try:
        return format_time(decode(SAMPLE.read_bytes()).time_nanos).removesuffix("Z")
    except ProfbucketError:
        return "now-1h"
