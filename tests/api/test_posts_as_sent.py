"""Posts as clients, proxies and web pages send them."""

import gzip
import zlib

import pytest
from backports import zstd

from profbucket.api.content_encoding import decode, parse_codings
from profbucket.auth import ApiKeys, Authenticator, hash_secret
from profbucket.errors import PermissionDenied, TooLarge, Unauthenticated, UnsupportedMedia
from profbucket.limits import Limits
from profbucket.model.form import PROFILES_PATH
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from tests.support.api import Api, body, pprof

RAW = gzip.decompress(pprof())
KEYS = ApiKeys.parse(f'[{{"name": "all", "sha256": "{hash_secret("secret").hex()}", "scopes": ["write"]}}]')
COMPRESSORS = [("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", zstd.compress)]


@pytest.fixture
def api() -> Api:
    return Api(Storage(MemoryBucket(), MemoryIndex()))


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("gzip", gzip.compress(RAW, mtime=0)),
        ("GZIP", gzip.compress(RAW, mtime=0)),
        ("x-gzip", gzip.compress(RAW, mtime=0)),
        ("deflate", zlib.compress(RAW)),
        ("deflate", raw_deflate(RAW)),
        ("zstd", zstd.compress(RAW)),
        ("gzip, zstd", zstd.compress(gzip.compress(RAW, mtime=0))),
        ("identity", RAW),
        ("", RAW),
    ],
)
def test_a_content_encoding_is_decoded_before_storage(api: Api, encoding: str, data: bytes) -> None:
    response = api.client.post(
        PROFILES_PATH,
        query_string={"service": "api", "type": "cpu"},
        data=data,
        headers={"Content-Encoding": encoding},
    )
    assert response.status_code == 200, response.text
    assert api.get(f"{PROFILES_PATH}/{body(response)['id']}").data == RAW


def test_the_profile_inside_keeps_its_own_compression(api: Api) -> None:
    response = api.client.post(
        PROFILES_PATH,
        query_string={"service": "api", "type": "cpu"},
        data=gzip.compress(pprof()),
        headers={"Content-Encoding": "gzip"},
    )
    assert api.get(f"{PROFILES_PATH}/{body(response)['id']}").data == pprof()


@pytest.mark.parametrize(
    ("encoding", "code"),
    [
        ("br", "unsupported_content_encoding"),
        ("gzip, br", "unsupported_content_encoding"),
        ("gzip, gzip, gzip, gzip", "unsupported_content_encoding"),
        ("zstd", "invalid_content_encoding"),
        ("gzip", "invalid_content_encoding"),
        ("deflate", "invalid_content_encoding"),
    ],
)
def test_another_encoding_is_415(api: Api, encoding: str, code: str) -> None:
    response = api.client.post(
        PROFILES_PATH,
        query_string={"service": "api", "type": "cpu"},
        data=RAW,
        headers={"Content-Encoding": encoding},
    )
    assert (response.status_code, response.get_json()["error_code"]) == (415, code)


@pytest.mark.parametrize(("coding", "compress"), COMPRESSORS)
def test_a_truncated_body_is_not_decoded(coding: str, compress: object) -> None:
    data: bytes = compress(bytes(range(256)) * 100)  # type: ignore[operator]
    for end in (1, len(data) // 2, len(data) - 1):
        with pytest.raises(UnsupportedMedia):
            b"".join(decode(coding, data[:end], Limits()))


@pytest.mark.parametrize(("coding", "compress"), COMPRESSORS)
def test_a_bomb_is_refused_at_the_limit(coding: str, compress: object) -> None:
    """Decoding stops at the first chunk over the limit."""
    limits = Limits(body_bytes=1 << 20)
    chunks = decode(coding, compress(bytes(200 << 20)), limits)  # type: ignore[operator]
    sizes: list[int] = []
    with pytest.raises(TooLarge):
        sizes.extend(map(len, chunks))
    assert sum(sizes) <= 1 << 20


def test_a_zstd_window_over_8_mb_is_refused() -> None:
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 27}
    compressor = zstd.ZstdCompressor(options=options)
    data = compressor.compress(bytes(1 << 20)) + compressor.flush()
    with pytest.raises(UnsupportedMedia):
        b"".join(decode("zstd", data, Limits()))


def test_codings_are_listed_in_the_order_in_which_they_were_applied() -> None:
    assert parse_codings(" X-Gzip , identity, zstd") == ("gzip", "zstd")


@pytest.mark.parametrize("name", ["from", "to", "limit", "page", "seconds"])
def test_parameters_of_queries_are_refused_on_a_post(api: Api, name: str) -> None:
    response = api.post(pprof(), **{name: "5"})
    assert (response.status_code, response.get_json()["error_code"]) == (400, "reserved_parameter")


@pytest.mark.parametrize(
    "header",
    [
        "Via",
        "X-Real-Ip",
        "X-REAL-IP",
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "Cf-Connecting-Ip",
        "True-Client-Ip",
        *("Cf-Ray", "Cdn-Loop", "Fastly-Client-Ip", "Fly-Client-Ip", "X-Envoy-External-Address", "X-Scheme"),
        *("X-Original-Forwarded-For", "X-Remote-Addr", "X-Originating-Ip", "X-Proxyuser-Ip", "X-Azure-Clientip"),
        *("X-Appengine-User-Ip", "Wl-Proxy-Client-Ip", "X-Forwarded"),
    ],
)
def test_a_local_proxy_does_not_open_a_collector_without_keys(header: str) -> None:
    authenticator = Authenticator()
    assert authenticator.authenticate({}, None, "127.0.0.1", "localhost:10100")
    with pytest.raises(Unauthenticated):
        authenticator.authenticate({header: "x"}, None, "127.0.0.1", "localhost:10100")


@pytest.mark.parametrize("header", ["User-Agent", "Accept", "X-Api-Key", "X-Request-Id", "Cookie", "Traceparent"])
def test_other_headers_do_not_look_like_those_of_a_proxy(header: str) -> None:
    assert Authenticator().authenticate({header: "203.0.113.7"}, None, "127.0.0.1", "localhost:10100")


@pytest.mark.parametrize(
    "authenticator",
    [Authenticator(), Authenticator(anonymous=True), Authenticator(KEYS)],
    ids=["local", "anonymous", "keys"],
)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "null"},
        {"Origin": "http://[localhost:10100"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_page_of_another_site_cannot_post(headers: dict[str, str], authenticator: Authenticator) -> None:
    """Not even with a key: a browser adds a password that it remembers to the requests of any page."""
    headers = {**headers, "X-Api-Key": "secret"}
    with pytest.raises(PermissionDenied) as error:
        authenticator.authenticate(headers, None, "127.0.0.1", "localhost:10100", "POST")
    assert error.value.code == "cross_site_request"
    assert authenticator.authenticate(headers, None, "127.0.0.1", "localhost:10100", "GET")


@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": "http://localhost:10100"}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}],
)
def test_other_clients_and_the_collectors_own_page_can_post(headers: dict[str, str]) -> None:
    assert Authenticator().authenticate(headers, None, "127.0.0.1", "localhost:10100", "POST")
