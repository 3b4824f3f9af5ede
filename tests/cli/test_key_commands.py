"""``profbucket key``, and how commands send an API key."""

import json
from collections.abc import Iterator
from hashlib import sha256

import pytest

from profbucket.auth import ApiKeys, Scope, generate_secret, hash_secret
from tests.support.command_line import on_terminal, profbucket
from tests.support.paths import DATA
from tests.support.serving import served

CPU = DATA / "shop-0.0.1" / "cpu-1.pb.gz"


class TestCreate:
    def test_it_prints_a_secret_and_the_entry_that_admits_it(self) -> None:
        process = profbucket("key", "create", "shop-agents", "--scope", "write", "--service", "shop-*").check()
        secret, entry = process.text.splitlines()
        key = ApiKeys.parse(f"[{entry}]").find(secret)
        assert key
        assert (key.name, key.scopes, key.services) == ("shop-agents", frozenset({Scope.WRITE}), ("shop-*",))
        assert secret not in entry + process.stderr

    def test_without_services_it_is_for_all_and_scopes_can_be_many(self) -> None:
        process = profbucket("key", "create", "ops", "--scope", "admin", "--scope", "read").check()
        entry = json.loads(process.text.splitlines()[1])
        assert entry["scopes"] == ["read", "admin"]
        assert "services" not in entry

    def test_each_key_is_different(self) -> None:
        assert len({profbucket("key", "create", "a", "--scope", "read").check().text for _ in range(3)}) == 3

    @pytest.mark.parametrize(
        ("args", "code", "message"),
        [
            (["a"], 2, "--scope"),
            (["a", "--scope", "root"], 2, "root"),
            (["a\nb", "--scope", "read"], 1, "PROFBUCKET_KEYS"),
            (["", "--scope", "read"], 1, "PROFBUCKET_KEYS"),
            (["a", "--scope", "read", "--service", ""], 1, "PROFBUCKET_KEYS"),
        ],
    )
    def test_an_entry_that_a_collector_would_refuse_is_not_printed(
        self, args: list[str], code: int, message: str
    ) -> None:
        process = profbucket("key", "create", *args)
        assert (process.returncode, process.stdout) == (code, b"")
        assert message in process.stderr


class TestHash:
    @pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
    def test_it_hashes_the_line_on_standard_input(self, ending: str) -> None:
        secret = generate_secret()
        process = profbucket("key", "hash", stdin=secret + ending).check()
        assert process.text.strip() == hash_secret(secret).hex() == sha256(secret.encode()).hexdigest()

    def test_on_a_terminal_it_prompts_without_echo(self) -> None:
        secret = generate_secret()
        with on_terminal("key", "hash") as terminal:
            terminal.read_until(b"Key:")
            terminal.write(f"{secret}\n")
            assert terminal.wait() == 0
        assert hash_secret(secret).hex() in terminal.output.decode()
        assert secret.encode() not in terminal.output

    def test_it_takes_no_argument(self) -> None:
        assert profbucket("key", "hash", generate_secret()).returncode == 2

    @pytest.mark.parametrize("stdin", ["", "\n", "hunter2\n"])
    def test_a_short_key_is_refused(self, stdin: str) -> None:
        process = profbucket("key", "hash", stdin=stdin)
        assert (process.returncode, process.stdout) == (1, b"")
        assert "at least 32" in process.stderr
        assert "hunter2" not in process.stderr


SECRET = generate_secret()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A collector that requires an API key."""
    directory = tmp_path_factory.mktemp("keyed")
    keys = json.dumps([{"name": "all", "sha256": hash_secret(SECRET).hex(), "scopes": list(Scope)}])
    with served(f"file://{directory}/profiles", directory / "log", PROFBUCKET_KEYS=keys) as url:
        yield url


class TestSent:
    def test_the_key_in_the_environment_is_sent(self, url: str) -> None:
        push = ("push", CPU, "--service", "a", "--type", "cpu", "--url", url)
        profbucket(*push, PROFBUCKET_KEY=SECRET).check()
        assert profbucket("services", "--url", url, PROFBUCKET_KEY=SECRET).check().text == "a\n"

    def test_the_key_in_the_url_is_sent(self, url: str) -> None:
        keyed = url.replace("//", f"//x:{SECRET}@")
        profbucket("push", CPU, "--service", "a", "--type", "cpu", "--url", keyed).check()
        assert profbucket("services", PROFBUCKET_URL=keyed).check().text == "a\n"

    @pytest.mark.parametrize("address", ["{url}", "http://x:{key}@127.0.0.1:1", "htp://x:{key}@127.0.0.1"])
    def test_it_is_never_printed(self, url: str, address: str) -> None:
        """... if the key is wrong, no collector listens, or the URL is malformed."""
        wrong = generate_secret()
        keyed = address.format(key=wrong, url=url.replace("//", f"//x:{wrong}@"))
        process = profbucket("services", "--url", keyed)
        assert process.returncode == 1
        assert wrong not in process.text + process.stderr

    def test_help_does_not_print_it(self) -> None:
        settings = {"PROFBUCKET_KEY": SECRET, "PROFBUCKET_URL": f"http://x:{SECRET}@localhost"}
        for command in ("find", "run", "push"):
            assert SECRET not in profbucket(command, "--help", **settings).check().text

    def test_without_a_key_the_collectors_message_is_shown(self, url: str) -> None:
        process = profbucket("services", "--url", url)
        assert process.returncode == 1
        assert "key" in process.stderr
