"""API keys in the URLs of an agent and of ``go tool pprof``, and nowhere else."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
import urllib3
from werkzeug.serving import make_server

from profbucket.api.app import create_app
from profbucket.api.routes import Role
from profbucket.auth import ApiKeys, Scope, generate_secret, hash_secret
from profbucket.cli.http_client import HttpClient
from profbucket.config import Config
from profbucket.ingest.collector import Collector
from profbucket.limits import Limits
from profbucket.model.labels import Labels
from profbucket.model.meta import Query
from profbucket.model.profile_type import ProfileType
from profbucket.query.querier import Querier
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from profbucket.times import LATEST
from tests.support.api import pprof
from tests.support.go_tool import GoPprof, run
from tests.support.paths import ROOT
from tests.support.serving import running, served
from tests.support.tls import tls_proxy
from tests.test_auth import OPEN, ROUTES, SECRETS, method_and_path
from tests.test_auth import entry as key_entry

DATA = ROOT / "tests" / "data"
WRITER, READER = generate_secret(), generate_secret()
ENTRIES = [
    {"name": "agents", "sha256": hash_secret(WRITER).hex(), "scopes": ["write"]},
    {"name": "people", "sha256": hash_secret(READER).hex(), "scopes": ["read"], "services": ["shop*", "nothing"]},
]


@dataclass(frozen=True, slots=True)
class KeyedCollector:
    """A collector with API keys and two versions of the shop: its URL, its address with TLS, and its log."""

    url: str
    address: str
    log: Path

    def merge(self, secret: str, **query: str) -> str:
        """Return the URL of a merge for ``go tool pprof``."""
        parameters = urlencode({"service": "shop", "type": "cpu", "from": "0", **query})
        return f"https+insecure://x:{secret}@{self.address}/api/0/profiles/merge?{parameters}"


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyedCollector]:
    directory = tmp_path_factory.mktemp("keyed")
    log = directory / "log"
    with (
        served(f"file://{directory}/profiles", log, PROFBUCKET_KEYS=json.dumps(ENTRIES)) as url,
        tls_proxy(url, directory) as address,
    ):
        for version in ("0.0.1", "0.0.2"):
            data = (DATA / f"shop-{version}" / "cpu-1.pb.gz").read_bytes()
            query = urlencode({"service": "shop", "type": "cpu", "version": version})
            response = urllib3.request(
                "POST", f"{url}/api/0/profiles?{query}", body=data, headers={"X-Api-Key": WRITER}
            )
            assert response.status == 200, response.data
        yield KeyedCollector(url, address, log)
    text = log.read_text()
    assert "people" in text
    assert not [secret for secret in (WRITER, READER) if secret in text]


def test_an_agent_posts_with_the_key_in_its_url(keyed: KeyedCollector, shop: Path) -> None:
    """profefe's agent has no other place for a key."""
    collector = keyed.url.replace("//", f"//x:{WRITER}@")
    output = run(str(shop), "-collector", collector, "-service", "shop-of-agent", "-cpu-seconds", "0.05").check()
    assert {json.loads(line)["code"] for line in output.text.splitlines()} == {200}


def test_pprof_reads_with_the_key_in_its_url(keyed: KeyedCollector, go_pprof: GoPprof) -> None:
    assert "main.priceCart" in go_pprof("-top", keyed.merge(READER)).check().text


def test_pprof_compares_two_merges_with_the_key_in_both_urls(keyed: KeyedCollector, go_pprof: GoPprof) -> None:
    before, after = keyed.merge(READER, version="0.0.1"), keyed.merge(READER, version="0.0.2")
    top = go_pprof("-top", "-nodecount=1", "-base", before, after).check().text.splitlines()
    assert top[-1].endswith(" main.priceCart")


@pytest.mark.parametrize(
    ("secret", "query", "code"),
    [
        ("", {}, "missing_api_key"),
        ("wrong", {}, "unknown_api_key"),
        (WRITER, {}, "missing_scope"),
        (READER, {"service": "billing"}, "service_denied"),
        (READER, {"service": "nothing"}, "not_found"),
    ],
    ids=["none", "unknown", "another scope", "another service", "nothing found"],
)
def test_pprof_prints_why_a_key_is_rejected(
    keyed: KeyedCollector, go_pprof: GoPprof, secret: str, query: dict[str, str], code: str
) -> None:
    result = go_pprof("-top", keyed.merge(secret, **query))
    assert result.returncode != 0
    assert code in result.stderr


class TestRedirect:
    """A redirect of a large response to another host, which must not get the key."""

    @dataclass(slots=True)
    class OtherHost:
        """A host that serves *bucket* and records its requests."""

        bucket: MemoryBucket
        requests: list[tuple[str, Message]] = field(default_factory=list)
        port: int = 0

    class Bucket(MemoryBucket):
        port = 0

        def sign_url(self, object_key: str, filename: str, seconds: int) -> str | None:
            return f"http://localhost:{self.port}/{object_key}?signature=s"

    @pytest.fixture
    def other_host(self) -> Iterator[OtherHost]:
        bucket = self.Bucket()
        requests: list[tuple[str, Message]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                requests.append((self.requestline, self.headers))
                data = bucket.get(urlsplit(self.path).path[1:])
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            bucket.port = server.server_address[1]
            with running(server):
                yield self.OtherHost(bucket, requests, bucket.port)

    @pytest.fixture
    def collector(self, other_host: OtherHost) -> Iterator[str]:
        """A collector with a large profile in the other host's bucket."""
        storage = Storage(other_host.bucket, MemoryIndex())
        data = (DATA / "shop-0.0.1" / "cpu-1.pb.gz").read_bytes()
        Collector(storage).collect("shop", ProfileType.CPU, Labels(), data)
        limits = Limits(answer_bytes=100)
        config = Config("memory:", limits, keys=ApiKeys.parse(json.dumps(ENTRIES)))
        app = create_app(config, Role.QUERY, querier=Querier(storage, limits))
        server = make_server("127.0.0.1", 0, app, threaded=True)
        with running(server):
            yield f"http://127.0.0.1:{server.port}"
        server.server_close()

    def test_pprof_follows_it_without_the_key(
        self, other_host: OtherHost, collector: str, go_pprof: GoPprof, tmp_path: Path
    ) -> None:
        with tls_proxy(collector, tmp_path) as address:
            top = go_pprof("-top", KeyedCollector("", address, tmp_path).merge(READER)).check()
        assert "main.priceCart" in top.text
        self.check_seen(other_host)

    @pytest.mark.parametrize("form", ["{scheme}x:{key}@{host}", "{scheme}{host}"])
    def test_the_command_line_follows_it_without_the_key(
        self, other_host: OtherHost, collector: str, form: str
    ) -> None:
        url = form.format(scheme="http://", key=READER, host=collector.removeprefix("http://"))
        assert HttpClient(url, READER).merge(Query("shop", ProfileType.CPU, 0, LATEST))[:2] == b"\x1f\x8b"
        self.check_seen(other_host)

    @staticmethod
    def check_seen(other_host: OtherHost) -> None:
        ((line, headers),) = other_host.requests
        assert line.startswith("GET /_/results/")
        assert "Authorization" not in headers
        assert not [text for text in (line, str(headers)) if READER in text]


def test_no_key_appears_in_a_log_line_or_a_response(tmp_path: Path) -> None:
    """Neither at the level DEBUG, on any route, in any way of sending the key."""
    keys = [*(key_entry(scope, [scope], ["shop-*"]) for scope in Scope), key_entry("all", list(Scope))]
    log = tmp_path / "log"
    responses = []
    with served(
        f"file://{tmp_path}/profiles",
        log,
        PROFBUCKET_KEYS=json.dumps(keys),
        PROFBUCKET_LOG_LEVEL="debug",
        GUNICORN_LOG_LEVEL="debug",
    ) as url:
        address = urlsplit(url)
        connection = HTTPConnection(address.hostname or "", address.port, timeout=60)
        missing = "shop-api/cpu/20261122T225107.000000000Z-0123456789abcdef"
        for route, secret in product([*ROUTES, *OPEN], SECRETS.values()):
            method, path = method_and_path(route, missing)
            basic = base64.b64encode(f"x:{secret}".encode()).decode()
            separator = "&" if "?" in path else "?"
            for target, headers in [
                (path, {"Authorization": f"Bearer {secret}"}),
                (path, {"Authorization": f"Basic {basic}"}),
                (path, {"X-Api-Key": secret}),
                (f"{path}{separator}key={secret}", {}),
                (f"http://x:{secret}@{address.netloc}{path}", {}),
            ]:
                connection.request(method, target, pprof() if method == "POST" else None, headers)
                response = connection.getresponse()
                responses.append(f"{response.status} {response.headers} {response.read()!r}")
        connection.close()
    text = log.read_text()
    assert len({response[:3] for response in responses}) >= 4
    assert '"key": "all"' in text
    for secret in SECRETS.values():
        for form in (secret, base64.b64encode(f"x:{secret}".encode()).decode()):
            assert form not in text
            assert not [response for response in responses if form in response]
