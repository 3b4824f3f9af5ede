"""``profbucket key``, and where the command line's own key goes."""

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from profbucket.auth import ApiKeys, Scope, generate_secret, hash_secret
from profbucket.cli.server import Server
from profbucket.config import Config
from profbucket.errors import Misconfigured
from tests.support.go_tool import Run
from tests.support.paths import ROOT
from tests.support.serving import SCRIPTS, TIMEOUT_SECONDS, served

CPU = ROOT / "tests" / "data" / "shop-0.0.1" / "cpu-1.pb.gz"
PROGRAM = str(SCRIPTS / "profbucket")


def profbucket(*args: str | Path, said: str = "", **settings: str) -> Run:
    """Run the program; *said* is what comes from its standard input."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PROFBUCKET_", "STORAGE_URL"))}
    command = (PROGRAM, *map(str, args))
    done = subprocess.run(
        command, input=said.encode(), env={**inherited, **settings}, capture_output=True, check=False
    )
    return Run(command, done.returncode, done.stdout, done.stderr.decode())


class TestCreate:
    def test_it_prints_a_secret_and_the_entry_that_lets_it_in(self) -> None:
        done = profbucket("key", "create", "shop-agents", "--scope", "write", "--service", "shop-*").check()
        secret, entry = done.text.splitlines()
        key = ApiKeys.parse(f"[{entry}]").find(secret)
        assert key
        assert (key.name, key.scopes, key.services) == ("shop-agents", frozenset({Scope.WRITE}), ("shop-*",))
        assert secret not in entry + done.stderr

    def test_without_services_it_is_for_all_and_scopes_can_be_many(self) -> None:
        done = profbucket("key", "create", "ops", "--scope", "admin", "--scope", "read").check()
        entry = json.loads(done.text.splitlines()[1])
        assert entry["scopes"] == ["read", "admin"]
        assert "services" not in entry

    def test_each_is_another(self) -> None:
        assert len({profbucket("key", "create", "a", "--scope", "read").check().text for _ in range(3)}) == 3

    @pytest.mark.parametrize(
        ("args", "code", "sentence"),
        [
            (["a"], 2, "--scope"),
            (["a", "--scope", "root"], 2, "root"),
            (["a\nb", "--scope", "read"], 1, "the name is not a text"),
            (["", "--scope", "read"], 1, "the name is not a text"),
            (["a", "--scope", "read", "--service", ""], 1, "services is a list of patterns"),
        ],
    )
    def test_what_a_collector_would_not_take_is_not_made(self, args: list[str], code: int, sentence: str) -> None:
        done = profbucket("key", "create", *args)
        assert (done.returncode, done.stdout) == (code, b"")
        assert sentence in done.stderr


class TestHash:
    @pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
    def test_it_is_of_the_line_on_standard_input(self, ending: str) -> None:
        secret = generate_secret()
        done = profbucket("key", "hash", said=secret + ending).check()
        assert done.text.strip() == hash_secret(secret).hex() == sha256(secret.encode()).hexdigest()

    def test_on_a_terminal_it_is_asked_for_and_not_shown(self) -> None:
        secret = generate_secret()
        ours, its = pty.openpty()
        with subprocess.Popen(
            (PROGRAM, "key", "hash"), stdin=its, stdout=its, stderr=its, close_fds=True
        ) as process:
            os.close(its)
            shown = b""
            while b"Key:" not in shown:
                shown += os.read(ours, 1000)
            os.write(ours, f"{secret}\n".encode())
            try:
                while piece := os.read(ours, 1000):
                    shown += piece
            except OSError:  # how a terminal ends
                pass
            assert process.wait(TIMEOUT_SECONDS) == 0
        os.close(ours)
        assert hash_secret(secret).hex() in shown.decode()
        assert secret.encode() not in shown

    def test_an_argument_is_no_place_for_it(self) -> None:
        assert profbucket("key", "hash", generate_secret()).returncode == 2

    @pytest.mark.parametrize("said", ["", "\n", "hunter2\n"])
    def test_what_can_be_guessed_has_none(self, said: str) -> None:
        done = profbucket("key", "hash", said=said)
        assert (done.returncode, done.stdout) == (1, b"")
        assert "at least 32" in done.stderr
        assert "hunter2" not in done.stderr


SECRET = generate_secret()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A collector that asks for a key."""
    directory = tmp_path_factory.mktemp("keyed")
    keys = json.dumps([{"name": "all", "sha256": hash_secret(SECRET).hex(), "scopes": list(Scope)}])
    with served(f"file://{directory}/profiles", directory / "log", PROFBUCKET_KEYS=keys) as url:
        yield url


class TestSent:
    def test_the_key_of_the_environment_is_sent(self, url: str) -> None:
        push = ("push", CPU, "--service", "a", "--type", "cpu", "--url", url)
        profbucket(*push, PROFBUCKET_KEY=SECRET).check()
        assert profbucket("services", "--url", url, PROFBUCKET_KEY=SECRET).check().text == "a\n"

    def test_so_is_one_in_the_url(self, url: str) -> None:
        keyed = url.replace("//", f"//x:{SECRET}@")
        profbucket("push", CPU, "--service", "a", "--type", "cpu", "--url", keyed).check()
        assert profbucket("services", PROFBUCKET_URL=keyed).check().text == "a\n"

    @pytest.mark.parametrize("address", ["{url}", "http://x:{key}@127.0.0.1:1", "htp://x:{key}@127.0.0.1"])
    def test_it_is_never_printed(self, url: str, address: str) -> None:
        """... not when the key is wrong, nobody listens, or the URL is none."""
        wrong = generate_secret()
        keyed = address.format(key=wrong, url=url.replace("//", f"//x:{wrong}@"))
        done = profbucket("services", "--url", keyed)
        assert done.returncode == 1
        assert wrong not in done.text + done.stderr

    def test_without_one_the_collectors_sentence_is_shown(self, url: str) -> None:
        done = profbucket("services", "--url", url)
        assert done.returncode == 1
        assert "a key is needed" in done.stderr


class TestServe:
    def test_without_keys_it_is_not_opened_to_others(self) -> None:
        done = profbucket("serve", "--host", "0.0.0.0", "--port", "0", "--storage", "memory:")
        assert (done.returncode, done.stdout) == (1, b"")
        assert "PROFBUCKET_KEYS" in done.stderr
        assert "PROFBUCKET_ANONYMOUS=1" in done.stderr

    KEYS = ApiKeys.parse(f'[{{"name": "a", "sha256": "{"0" * 64}", "scopes": ["read"]}}]')

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
    @pytest.mark.parametrize(("keys", "anonymous"), [(None, False), (None, True), (KEYS, False)])
    def test_keys_or_a_word_open_it(self, host: str, keys: ApiKeys | None, anonymous: bool) -> None:
        server, config = Server(host, 0, "memory:"), Config("memory:", keys=keys, anonymous=anonymous)
        if keys or anonymous:
            server.check_open(config)
        else:
            with pytest.raises(Misconfigured, match="is reached by others"):
                server.check_open(config)

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
    def test_the_machine_itself_needs_neither(self, host: str) -> None:
        Server(host, 0, "memory:").check_open(Config("memory:"))
