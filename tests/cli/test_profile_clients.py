"""Both profile clients under one set of tests: results, and each error's class and code."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from profbucket.auth import Scope, generate_secret, hash_secret
from profbucket.cli.client import ProfileClient
from profbucket.cli.http_client import HttpClient
from profbucket.cli.local_client import LocalClient
from profbucket.config import Config
from profbucket.errors import (
    Invalid,
    Misconfigured,
    NotFound,
    NotMergeable,
    PermissionDenied,
    ProfbucketError,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unavailable,
    error_class,
)
from profbucket.limits import Limits
from profbucket.model.ids import ProfileId
from profbucket.model.labels import Labels, Matcher
from profbucket.model.merge_format import MergeFormat
from profbucket.model.merge_options import MergeOptions
from profbucket.model.meta import Query
from profbucket.model.profile_type import ProfileType
from profbucket.model.refinement import Refinement
from profbucket.model.sample_kinds import Aggregate
from profbucket.model.upload import Upload
from profbucket.times import LATEST
from tests.support.canonical import canonicalize
from tests.support.collecting import store
from tests.support.paths import DATA
from tests.support.profiles import Sample, encode, profile, stack
from tests.support.serving import free_port, served

CPU = sorted((DATA / "shop-0.0.1").glob("cpu-?.pb.gz"))
HEAP = sorted((DATA / "shop-0.0.1").glob("heap-?.pb.gz"))
TRACE = DATA / "shop-0.0.1" / "trace-1.trace"
DELTA = MergeOptions(aggregate=Aggregate.DELTA)
VERSION = Labels.from_pairs([("version", "1")])


@pytest.fixture(scope="module", params=["http", "local"])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProfileClient]:
    """Each client, on a storage with the same three CPU profiles, two heap profiles and a trace."""
    directory = tmp_path_factory.mktemp("clients")
    storage = (directory / "profiles").as_uri()
    client: ProfileClient
    if request.param == "local":
        client = LocalClient(Config(storage, Limits(merge=2, label_bytes=100)), create=True)
        fill(client)
        yield client
    else:
        with served(storage, directory / "log", PROFBUCKET_MAX_MERGE="2", PROFBUCKET_MAX_LABEL_BYTES="100") as url:
            client = HttpClient(url)
            fill(client)
            yield client


def fill(client: ProfileClient) -> None:
    for file in CPU:
        store(client, Upload("shop", ProfileType.CPU, VERSION, file.read_bytes()))
    for file in HEAP[:2]:
        store(client, Upload("shop", ProfileType.HEAP, Labels(), file.read_bytes()))
    store(client, Upload("shop", ProfileType.TRACE, Labels(), TRACE.read_bytes(), 10**18))


def query(
    profile_type: ProfileType | None = ProfileType.CPU, *matchers: Matcher, service: str = "shop", **changes: int
) -> Query:
    return Query(service, profile_type, changes.get("start", 0), LATEST, matchers, limit=changes.get("limit"))


def test_a_stored_profile_has_a_record_and_is_stored_once(client: ProfileClient) -> None:
    data = CPU[0].read_bytes()
    meta = store(client, Upload("shop", ProfileType.CPU, VERSION, data))
    assert (meta.service, meta.type, meta.labels, meta.size) == ("shop", ProfileType.CPU, VERSION, len(data))
    assert [total.type for total in meta.totals] == ["samples", "cpu"]
    assert client.find(query()).profiles[0] == meta
    assert client.read(ProfileId.parse(meta.id)) == data


def test_find_selects_and_pages(client: ProfileClient) -> None:
    assert len(client.find(query(None)).profiles) == 6
    assert len(client.find(query(ProfileType.HEAP)).profiles) == 2
    assert len(client.find(query(ProfileType.CPU, Matcher("version", "=~", "[0-9]"))).profiles) == 3
    page = client.find(query(limit=2))
    assert page.next == page.profiles[-1].id
    rest = Query("shop", ProfileType.CPU, 0, LATEST, after=page.profiles[-1].position)
    assert client.find(rest).next is None
    assert len(client.find(rest).profiles) == 1


@pytest.mark.parametrize("condition", ["~s.+", "!~api"])
def test_a_condition_selects_services(client: ProfileClient, condition: str) -> None:
    page = client.find(query(service=condition, limit=2))
    assert page.profiles == client.find(query(limit=2)).profiles
    rest = Query(condition, ProfileType.CPU, 0, LATEST, after=page.profiles[-1].position)
    assert len(client.find(rest).profiles) == 1
    merged, own = client.merge(query(ProfileType.HEAP, service=condition)), client.merge(query(ProfileType.HEAP))
    assert canonicalize(merged).samples == canonicalize(own).samples


def test_merges_are_equal(client: ProfileClient) -> None:
    ids = [ProfileId.parse(meta.id) for meta in client.find(query(ProfileType.HEAP)).profiles]
    merged = canonicalize(client.merge(query(ProfileType.HEAP)))
    assert merged.samples == canonicalize(client.merge_ids(ids)).samples
    assert merged.samples != canonicalize(client.merge(query(ProfileType.HEAP), DELTA)).samples


def test_merges_are_refined_and_converted(client: ProfileClient) -> None:
    options = MergeOptions(refinement=Refinement(focus="priceCart"), format=MergeFormat.COLLAPSED)
    text = client.merge(query(limit=2), options)
    assert text.startswith(b"main.(*shop).work;")
    assert all(b"priceCart" in line for line in text.splitlines())
    few = client.merge(query(limit=2), MergeOptions(format=MergeFormat.SVG, max_nodes=3))
    assert 1 < few.count(b"<g>") <= 3


def test_services_are_listed(client: ProfileClient) -> None:
    assert client.services() == ["shop"]


def undated(samples: int) -> bytes:
    return encode(profile(*(Sample(stack("main"), (1, 1)) for _ in range(samples)), time_nanos=0))


MISSING = ProfileId("shop", ProfileType.CPU, 10**18, "0123456789abcdef")
Call = Callable[[ProfileClient], object]

ERRORS: list[tuple[str, Call, type[ProfbucketError], str]] = [
    ("no service", lambda client: client.find(query(service="~api")), NotFound, "not_found"),
    ("malformed condition", lambda client: client.find(query(service="~(")), Invalid, "invalid_regex"),
    (
        "malformed profile",
        lambda client: store(client, Upload("shop", ProfileType.CPU, Labels(), b"nonsense")),
        Invalid,
        "",
    ),
    (
        "profile without samples",
        lambda client: store(client, Upload("shop", ProfileType.CPU, Labels(), undated(0))),
        Invalid,
        "",
    ),
    (
        "labels over a limit",
        lambda client: store(
            client,
            Upload("shop", ProfileType.CPU, Labels.from_pairs([("a", "b" * 200)]), CPU[0].read_bytes()),
        ),
        Invalid,
        "max_label_bytes_exceeded",
    ),
    (
        "long service name",
        lambda client: client.find(query(service="s" * 300)),
        Invalid,
        "max_service_bytes_exceeded",
    ),
    ("regular expression", lambda client: client.find(query(None, Matcher("a", "=~", "("))), Invalid, ""),
    ("unknown service", lambda client: client.find(query(service="nobody")), NotFound, ""),
    ("unknown id", lambda client: client.read(MISSING), NotFound, ""),
    ("nothing to merge", lambda client: client.merge(query(service="nobody")), NotFound, ""),
    ("merge of traces", lambda client: client.merge(query(ProfileType.TRACE)), NotMergeable, ""),
    ("merge of any type", lambda client: client.merge(query(None)), NotMergeable, ""),
    ("merge over a limit", lambda client: client.merge(query()), TooMany, "max_merge_exceeded"),
    ("delta of no counter", lambda client: client.merge(query(), DELTA), Invalid, ""),
]
CODES: dict[str, str] = {}


@pytest.mark.parametrize(("name", "call", "cls", "code"), ERRORS, ids=[name for name, *_ in ERRORS])
def test_errors_are_equal(
    client: ProfileClient, name: str, call: Call, cls: type[ProfbucketError], code: str
) -> None:
    """Neither the class nor the code depends on the client. Codes that are not given are compared only."""
    with pytest.raises(ProfbucketError) as caught:
        call(client)
    assert type(caught.value) is cls
    assert caught.value.code == CODES.setdefault(name, code or caught.value.code)


def test_a_body_over_a_limit(tmp_path: Path) -> None:
    """Only over HTTP: the local client reads no bodies."""
    with served("memory:", tmp_path / "log", PROFBUCKET_MAX_BODY_BYTES="100") as url:
        with pytest.raises(TooLarge) as caught:
            store(HttpClient(url), Upload("shop", ProfileType.CPU, Labels(), CPU[0].read_bytes()))
        assert caught.value.code == "max_body_bytes_exceeded"


def test_api_keys(tmp_path: Path) -> None:
    """Only over HTTP: the local client needs none."""
    secret = generate_secret()
    keys = json.dumps([{"name": "reader", "sha256": hash_secret(secret).hex(), "scopes": [Scope.READ]}])
    with served("memory:", tmp_path / "log", PROFBUCKET_KEYS=keys) as url:
        with pytest.raises(Unauthenticated):
            HttpClient(url).services()
        with pytest.raises(PermissionDenied):
            store(HttpClient(url, secret), Upload("shop", ProfileType.CPU, Labels(), CPU[0].read_bytes()))


def test_an_unreachable_collector_and_a_malformed_url() -> None:
    with pytest.raises(Unavailable, match="Connection refused"):
        HttpClient(f"http://127.0.0.1:{free_port()}").services()
    for url in ("localhost:10100", "ftp://localhost", "http://", "http://localhost:x", "http://u:secret@host:x"):
        with pytest.raises(Misconfigured) as caught:
            HttpClient(url)
        assert caught.value.code == "invalid_url"
        assert "secret" not in str(caught.value)
    with pytest.raises(Misconfigured, match="API key"):
        HttpClient("http://localhost", "se\ncret")


def test_classes_are_found_by_status_and_code() -> None:
    assert error_class(500, "internal") is ProfbucketError
    assert error_class(500, "misconfigured") is Misconfigured
    assert error_class(503, "unavailable") is Unavailable
    assert error_class(418, "") is None
