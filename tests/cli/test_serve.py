"""``profbucket serve`` as a process: signals, settings that cannot work, and the commands that it prints."""

import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path

import pytest

from profbucket.auth import ApiKeys
from profbucket.cli.server import Server
from profbucket.config import Config
from profbucket.errors import Misconfigured
from tests.support.command_line import PROGRAM, clean_environment, profbucket
from tests.support.go_tool import GoPprof, run
from tests.support.paths import DATA, ROOT
from tests.support.raw_http import RawClient, head
from tests.support.serving import SCRIPTS, TIMEOUT_SECONDS

CPU = sorted((DATA / "shop-0.0.1").glob("cpu-?.pb.gz"))


@dataclass
class Collector:
    """A process of ``profbucket serve`` and its welcome text."""

    process: "subprocess.Popen[str]"
    welcome: str

    @property
    def url(self) -> str:
        match = re.search(r"http://localhost:\d+", self.welcome)
        assert match
        return match[0]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def commands(self) -> list[str]:
        return [line.strip() for line in self.welcome.splitlines() if line.startswith("  ")]

    def is_alive(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("GET", "/api/0/version")
            return connection.getresponse().status == 200
        except ConnectionError:
            return False
        finally:
            connection.close()

    def stop(self, signal_number: int) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(signal_number)
        return self.process.wait(TIMEOUT_SECONDS)


@contextmanager
def serve(storage: str, *args: str, **settings: str) -> Iterator[Collector]:
    """Run ``profbucket serve`` on a free port; yield it after its welcome text."""
    process = subprocess.Popen(
        [PROGRAM, "serve", "--port", "0", "--storage", storage, *args],
        cwd=ROOT,
        env=clean_environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    try:
        welcome = ""
        while " top " not in welcome:
            line = process.stdout.readline()
            assert line, f"exited with {process.wait(TIMEOUT_SECONDS)}:\n{welcome}"
            welcome += line
        yield Collector(process, welcome)
    finally:
        process.terminate()
        process.wait(TIMEOUT_SECONDS)
        process.stdout.close()


def keys_setting(secret: str) -> str:
    """Return ``PROFBUCKET_KEYS`` with one key."""
    hashed = sha256(secret.encode()).hexdigest()
    return json.dumps([{"name": "all", "sha256": hashed, "scopes": ["read", "write"]}])


def test_the_printed_commands_work(tmp_path: Path, go_pprof: GoPprof) -> None:
    """curl and push store the same profile, ``go tool pprof`` and top show it: the commands run as printed."""
    with serve((tmp_path / "new").as_uri()) as collector:
        curl, push, pprof, top = collector.commands
        path = f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"
        environment = {**go_pprof.go.environment, **clean_environment(PATH=path), "PPROF_TMPDIR": str(tmp_path)}
        outputs = [
            run("sh", "-c", command, cwd=ROOT, environment=environment).check().text
            for command in (curl, push, pprof, top)
        ]
        assert json.loads(outputs[0])["body"]["id"] == outputs[1].strip()
        assert "main.priceCart" in outputs[2]
        assert outputs[3] == outputs[2]


@pytest.mark.parametrize(
    "signal_number",
    [
        signal.SIGINT,
        signal.SIGTERM,
        pytest.param(
            signal.SIGHUP,
            marks=pytest.mark.skipif(
                signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, reason="nohup: children ignore it, too"
            ),
        ),
    ],
)
def test_a_signal_ends_it_and_its_child(signal_number: int) -> None:
    """Ctrl-C, kill and a closed terminal end it with code 0, and nothing listens any more."""
    with serve("memory:") as collector:
        assert collector.is_alive()
        assert collector.stop(signal_number) == 0
        assert not collector.is_alive()


def test_a_directory_is_compacted(tmp_path: Path) -> None:
    directory = tmp_path / "profiles"
    push = ("push", CPU[0], "--service", "s", "--type", "cpu")
    profbucket(*push, "--storage", directory.as_uri()).check()
    with serve(directory.as_uri()) as collector:
        assert collector.process.stdout
        timeout = threading.Timer(TIMEOUT_SECONDS, collector.process.terminate)
        timeout.start()
        while "compaction: " not in (line := collector.process.stdout.readline()):
            assert line
        timeout.cancel()
        assert json.loads(line)["message"].startswith("compaction: 1 blocks made from profiles, ")
        assert collector.is_alive()
        assert collector.stop(signal.SIGTERM) == 0
    assert len(list((directory / "_/blocks/s/cpu").glob("*.block"))) == 1


def test_it_exits_when_its_child_is_killed() -> None:
    with serve("memory:") as collector:
        children = Path(f"/proc/{collector.process.pid}/task/{collector.process.pid}/children")
        os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
        assert collector.process.wait(TIMEOUT_SECONDS) == 128 + signal.SIGKILL


def test_a_port_in_use_is_an_error() -> None:
    with serve("memory:") as collector:
        process = profbucket("serve", "--port", str(collector.port), "--storage", "memory:")
        assert (process.returncode, process.text) == (1, "")
        assert re.fullmatch(rf"profbucket: .*port {collector.port}: .*in use.*--port.*\n", process.stderr)
        assert collector.is_alive()


@pytest.mark.parametrize(
    ("storage", "settings", "name"),
    [
        ("s4://bucket", {}, "s4://bucket"),
        ("file:///proc/nowhere", {}, "/proc/nowhere"),
        ("memory:", {"PROFBUCKET_MAX_MERGE": "many"}, "PROFBUCKET_MAX_MERGE"),
        ("memory:", {"THREADS": "many"}, "THREADS"),
        ("memory:", {"THREADS": "0"}, "THREADS"),
    ],
)
def test_settings_and_storage_are_checked_first(storage: str, settings: dict[str, str], name: str) -> None:
    process = profbucket("serve", "--port", "0", "--storage", storage, **settings)
    assert (process.returncode, process.text) == (1, "")
    assert re.fullmatch(rf"profbucket: .*{re.escape(name)}.*\n", process.stderr)


def test_a_server_that_does_not_start_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "httptools.py").write_text("raise SystemExit(3)")  # only the child imports it
    process = profbucket("serve", "--port", "0", "--storage", "memory:", PYTHONPATH=str(tmp_path))
    assert process.returncode == 1
    assert process.stderr == "profbucket: the collector exited with code 3 before it responded\n"


def test_sigterm_does_not_wait_for_clients_that_are_silent() -> None:
    with serve("memory:") as collector, RawClient(collector.port) as half, RawClient(collector.port) as idle:
        half.send(b"GET /healthz HTT")
        assert idle.send(head("GET", "/healthz")).answer().status == 200
        assert collector.stop(signal.SIGTERM) == 0


def test_a_second_sigterm_abandons_requests() -> None:
    with serve("memory:") as collector, RawClient(collector.port) as client:
        client.send(
            head("POST", "/api/0/profiles?service=s&type=cpu", "Content-Length: 9", "Expect: 100-continue")
        )
        assert client.answer().status == 100
        collector.process.send_signal(signal.SIGTERM)
        while collector.is_alive():  # until it has closed its port
            pass
        assert collector.stop(signal.SIGTERM) == 0


def test_with_keys_the_printed_commands_send_one() -> None:
    with serve("memory:", PROFBUCKET_KEYS=keys_setting("secret")) as collector:
        curl, _, pprof, _ = collector.commands
        assert "PROFBUCKET_KEY" in collector.welcome.partition("\n\n")[0]
        assert '"Authorization: Bearer $PROFBUCKET_KEY"' in curl
        assert '"http://x:$PROFBUCKET_KEY@localhost' in pprof


def test_commands_send_a_key(tmp_path: Path) -> None:
    """As --key, as PROFBUCKET_KEY and as the password in the URL."""
    with serve("memory:", PROFBUCKET_KEYS=keys_setting("se%cret")) as collector:
        url = collector.url
        push = ("push", CPU[0], "--service", "s", "--type", "cpu")
        refused = profbucket(*push, "--url", url)
        assert (refused.returncode, refused.text) == (1, "")
        assert "key" in refused.stderr
        keyed_url = url.replace("//", "//x:se%25cret@")
        stored = profbucket(*push, "--url", url, "--key", "se%cret").check().text
        assert stored == profbucket(*push, "--url", url, PROFBUCKET_KEY="se%cret").check().text
        assert stored == profbucket(*push, PROFBUCKET_URL=keyed_url).check().text
    unreachable = profbucket(*push, PROFBUCKET_URL=keyed_url)
    assert "Connection refused" in unreachable.stderr
    assert "cret" not in unreachable.stderr


class TestAccess:
    """An address that other machines reach needs keys, or the setting that serves anyone."""

    KEYS = ApiKeys.parse(f'[{{"name": "a", "sha256": "{"0" * 64}", "scopes": ["read"]}}]')

    def test_without_keys_it_does_not_listen_on_all_addresses(self) -> None:
        process = profbucket("serve", "--host", "0.0.0.0", "--port", "0", "--storage", "memory:")
        assert (process.returncode, process.stdout) == (1, b"")
        assert "PROFBUCKET_KEYS" in process.stderr
        assert "PROFBUCKET_ANONYMOUS=1" in process.stderr

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
    @pytest.mark.parametrize(("keys", "anonymous"), [(None, False), (None, True), (KEYS, False)])
    def test_keys_or_anonymous_access_permit_it(self, host: str, keys: ApiKeys | None, anonymous: bool) -> None:
        server, config = Server(host, 0, "memory:"), Config("memory:", keys=keys, anonymous=anonymous)
        if keys or anonymous:
            server.check_access(config)
        else:
            with pytest.raises(Misconfigured, match="other machines can reach"):
                server.check_access(config)

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
    def test_loopback_addresses_need_neither(self, host: str) -> None:
        Server(host, 0, "memory:").check_access(Config("memory:"))
