"""The routes of Datadog's profilers."""

import gzip
import json
import tracemalloc
from typing import Any

import lz4.frame
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from profbucket.auth import ApiKeys, hash_secret
from profbucket.limits import Limits
from profbucket.pprof.compression import inflate
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from tests.support.api import NOW, Api, body, error_code
from tests.support.canonical import canonicalize
from tests.support.profiles import Label, Sample, encode, profile, stack

INPUT = "/profiling/v1/input"
# The tags of ddtrace 4.16.0, as captured.
TAGS = (
    "env:staging,service:shop,version:1.2.3,language:python,runtime:CPython,"
    "runtime-id:8f9aa7fdb850467180eb3341e5a7cca2,runtime_version:3.11.7,profiler_version:4.16.0,process_id:32722,"
    "profiler_config:stack_v2,region:eu:west,runtime_platform:x86_64-unknown-linux-gnu"
)
EVENT = {"start": "2026-11-22T22:25:33.718163101Z", "family": "python", "version": "4", "tags_profiler": TAGS}
PYTHON_TYPES = (
    ("cpu-time", "nanoseconds"),
    ("cpu-samples", "count"),
    ("wall-time", "nanoseconds"),
    ("wall-samples", "count"),
    ("exception-samples", "count"),
    ("lock-acquire-wait", "nanoseconds"),
    ("lock-acquire", "count"),
    ("lock-release-hold", "nanoseconds"),
    ("lock-release", "count"),
    ("alloc-space", "bytes"),
    ("alloc-samples", "count"),
    ("heap-space", "bytes"),
    ("heap-live-samples", "count"),
    ("gpu-time", "nanoseconds"),
    ("gpu-samples", "count"),
    ("gpu-space", "bytes"),
    ("gpu-alloc-samples", "count"),
    ("gpu-flops", "count"),
    ("gpu-flops-samples", "count"),
)
BOUNDARY = "d34db33f"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def pprof(types: tuple[tuple[str, str], ...], *samples: Sample, at: int = NOW) -> bytes:
    names = tuple((name.encode(), unit.encode()) for name, unit in types)
    return encode(profile(*samples, sample_types=names, period_type=names[0], time_nanos=at))


def python_profile() -> bytes:
    """Return a profile as ddtrace sends it, before its compression."""
    values = {
        "cpu-time": 5,
        "cpu-samples": 1,
        "wall-time": 7,
        "wall-samples": 1,
        "alloc-space": 64,
        "heap-space": 32,
    }
    row = tuple(values.get(name, 0) for name, _ in PYTHON_TYPES)
    threads = [
        Sample(stack("hot", "main"), row, (Label(b"thread id", number=number), Label(b"thread name", b"main")))
        for number in (1, 2)
    ]
    lock = tuple(int(name.startswith("lock-acquire")) for name, _ in PYTHON_TYPES)
    return inflate(pprof(PYTHON_TYPES, *threads, Sample((), row), Sample(stack("wait"), lock)))


def form(parts: dict[str, bytes], event: Any = EVENT) -> bytes:
    """Return a form with these files, and *event* unless it is ``None``."""
    files = {**({"event.json": json.dumps(event).encode()} if event is not None else {}), **parts}
    pieces = []
    for filename, data in files.items():
        name = "event" if filename == "event.json" else filename
        header = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n\r\n'
        pieces += [header.encode(), data, b"\r\n"]
    return b"".join([*pieces, f"--{BOUNDARY}--\r\n".encode()])


@pytest.fixture
def api() -> Api:
    return Api(Storage(MemoryBucket(), MemoryIndex()))


def send(api: Api, parts: dict[str, bytes], event: Any = EVENT) -> TestResponse:
    return api.client.post(INPUT, data=form(parts, event), headers=FORM)


def stored(api: Api, service: str = "shop") -> dict[str, Any]:
    """Return the profiles of *service* by type."""
    response = api.get("/api/0/profiles", service=service, **{"from": "0"})
    return {meta["type"]: meta for meta in body(response)} if response.status_code == 200 else {}


def read(api: Api, profile_type: str) -> Any:
    return canonicalize(api.get(f"/api/0/profiles/{stored(api)[profile_type]['id']}").data)


class TestProfiles:
    def test_the_wide_profile_is_split_into_types(self, api: Api) -> None:
        response = send(api, {"code-provenance.json": b"{}", "profile.pprof": zstd.compress(python_profile())})
        assert response.status_code == 200, response.text
        assert stored(api).keys() == {"cpu", "wall", "alloc", "heap", "mutex"}
        cpu = read(api, "cpu")
        assert cpu.header.sample_types == ((b"cpu-time", b"nanoseconds"), (b"cpu-samples", b"count"))
        assert sorted(cpu.samples.values()) == [(5, 1)] * 3
        mutex = read(api, "mutex")
        assert list(mutex.samples.values()) == [(1, 1, 0, 0)]

    def test_tags_are_labels_but_those_of_one_process(self, api: Api) -> None:
        send(api, {"profile.pprof": zstd.compress(python_profile())})
        assert {label["key"]: label["value"] for label in stored(api)["cpu"]["labels"]} == {
            "env": "staging",
            "version": "1.2.3",
            "language": "python",
            "runtime": "CPython",
            "runtime_version": "3.11.7",
            "profiler_version": "4.16.0",
            "region": "eu:west",
            "runtime_platform": "x86_64-unknown-linux-gnu",
        }

    def test_tags_may_be_a_list(self, api: Api) -> None:
        event = {**EVENT, "tags_profiler": ["service:other", "version:2"]}
        assert send(api, {"cpu.pprof": pprof((("cpu", "nanoseconds"),), Sample(stack("a"), (1,)))}, event)
        assert stored(api, "other")["cpu"]["labels"] == [{"key": "version", "value": "2"}]

    @pytest.mark.parametrize(
        "compress", [bytes, gzip.compress, zstd.compress, lz4.frame.compress], ids=["plain", "gzip", "zstd", "lz4"]
    )
    def test_parts_are_decompressed(self, api: Api, compress: Any) -> None:
        assert send(api, {"profile.pprof": compress(python_profile())}).status_code == 200
        assert "cpu" in stored(api)

    def test_a_profile_of_one_type_is_stored_as_it_came(self, api: Api) -> None:
        data = pprof((("inuse_objects", "count"), ("inuse_space", "bytes")), Sample(stack("a"), (1, 8)))
        send(api, {"space.pprof": data})
        assert api.get(f"/api/0/profiles/{stored(api)['heap']['id']}").data == data

    def test_the_parts_of_node(self, api: Api) -> None:
        times = (("sample", "count"), ("wall", "nanoseconds"), ("cpu", "nanoseconds"))
        parts = {
            "space.pprof": pprof(
                (("inuse_objects", "count"), ("inuse_space", "bytes")), Sample(stack("a"), (1, 8))
            ),
            "wall.pprof": pprof(times, Sample(stack("a"), (1, 10, 5))),
            "events.pprof": pprof((("timeline", "nanoseconds"),), Sample(stack("/etc/passwd"), (1,))),
        }
        assert send(api, parts).status_code == 200
        assert stored(api).keys() == {"heap", "wall", "cpu"}

    @pytest.mark.parametrize(
        ("part", "types", "profile_type"),
        [
            ("cpu.pprof", (("samples", "count"), ("cpu", "nanoseconds")), "cpu"),
            ("delta-mutex.pprof", (("contentions", "count"), ("delay", "nanoseconds")), "mutex"),
            ("block.pprof", (("contentions", "count"), ("delay", "nanoseconds")), "block"),
            ("goroutines.pprof", (("goroutine", "count"),), "goroutine"),
            ("goroutineswait.pprof", (("goroutine", "count"), ("waitduration", "nanoseconds")), "goroutine"),
            ("strange.pprof", (("things", "count"),), "other"),
        ],
    )
    def test_the_parts_of_go(
        self, api: Api, part: str, types: tuple[tuple[str, str], ...], profile_type: str
    ) -> None:
        assert send(api, {part: pprof(types, Sample(stack("a"), (1,) * len(types)))}).status_code == 200
        assert stored(api).keys() == {profile_type}
        kinds = {total.get("kind") for total in stored(api)[profile_type]["totals"]}
        assert kinds == ({"sum"} if part.startswith("delta-") else {None})

    def test_the_event_tells_the_time_of_a_profile_without_one(self, api: Api) -> None:
        data = pprof((("cpu", "nanoseconds"),), Sample(stack("a"), (1,)), at=0)
        send(api, {"cpu.pprof": data})
        assert stored(api)["cpu"]["created_at"] == "2026-11-22T22:25:33Z"

    def test_what_is_not_converted_in_time_can_be_sent_again(self) -> None:
        api = Api(Storage(MemoryBucket(), MemoryIndex()), Limits(batch_seconds=-1))
        response = send(api, {"profile.pprof": zstd.compress(python_profile())})
        assert (response.status_code, error_code(response)) == (503, "max_batch_seconds_exceeded")
        assert "Retry-After" in response.headers
        assert stored(api) == {}

    def test_a_repeated_form_counts_once(self, api: Api) -> None:
        for _ in range(2):
            send(api, {"profile.pprof": zstd.compress(python_profile())})
        assert len(body(api.get("/api/0/profiles", service="shop", type="cpu", **{"from": "0"}))) == 1

    def test_a_bad_part_does_not_lose_the_good_ones(self, api: Api) -> None:
        parts = {"bad.pprof": b"nonsense", "cpu.pprof": pprof((("cpu", "nanoseconds"),), Sample(stack("a"), (1,)))}
        response = send(api, parts)
        assert (response.status_code, error_code(response)) == (400, "invalid_protobuf")
        assert "bad.pprof" in response.text
        assert stored(api).keys() == {"cpu"}


class TestErrors:
    @pytest.mark.parametrize(
        ("event", "code"),
        [
            (None, "invalid_multipart"),
            ([], "invalid_json"),
            ("x", "invalid_json"),
            ({"tags_profiler": ""}, "missing_parameter"),
            ({"tags_profiler": {"service": "x"}}, "missing_parameter"),
            ({"tags_profiler": 7}, "invalid_json"),
            ({**EVENT, "start": "yesterday"}, "invalid_time"),
            ({**EVENT, "tags_profiler": f"service:shop,{'k' * 2000}:v"}, "max_label_bytes_exceeded"),
        ],
    )
    def test_bad_events(self, api: Api, event: Any, code: str) -> None:
        response = send(api, {"profile.pprof": zstd.compress(python_profile())}, event)
        assert (response.status_code, error_code(response)) == (400, code)

    def test_jfr_is_422(self, api: Api) -> None:
        response = send(api, {"main.jfr": b"FLR"})
        assert (response.status_code, error_code(response)) == (422, "unsupported_format")

    @pytest.mark.parametrize(
        "compress", [gzip.compress, zstd.compress, lz4.frame.compress], ids=["gzip", "zstd", "lz4"]
    )
    def test_a_bomb_is_refused_and_takes_little_memory(self, compress: Any) -> None:
        api = Api(Storage(MemoryBucket(), MemoryIndex()), Limits(inflated_bytes=1 << 20))
        bomb = compress(bytes(200 << 20))
        body = form({"profile.pprof": bomb})
        tracemalloc.start()
        try:
            response = api.client.post(INPUT, data=body, headers=FORM)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert (response.status_code, error_code(response)) == (413, "max_inflated_bytes_exceeded")
        assert peak < 20 << 20

    def test_a_key_is_required_and_valid_for_its_services(self) -> None:
        entries = [{"name": "a", "sha256": hash_secret("s").hex(), "scopes": ["write"], "services": ["shop"]}]
        api = Api(Storage(MemoryBucket(), MemoryIndex()), keys=ApiKeys.parse(json.dumps(entries)))
        data = form({"profile.pprof": zstd.compress(python_profile())})
        other = form({"profile.pprof": zstd.compress(python_profile())}, {"tags_profiler": "service:web"})
        assert api.client.post(INPUT, data=data, headers=FORM).status_code == 401
        assert api.client.post(INPUT, data=data, headers={**FORM, "X-Api-Key": "s"}).status_code == 200
        assert api.client.post(INPUT, data=other, headers={**FORM, "X-Api-Key": "s"}).status_code == 403

    def test_info_needs_no_key(self) -> None:
        entries = [{"name": "a", "sha256": hash_secret("s").hex(), "scopes": ["read"]}]
        api = Api(Storage(MemoryBucket(), MemoryIndex()), keys=ApiKeys.parse(json.dumps(entries)))
        answer = json.loads(api.get("/info").data)
        assert answer["endpoints"] == [INPUT]
        assert answer["version"]


BASE = form(
    {
        "profile.pprof": zstd.compress(python_profile()),
        "wall.pprof": gzip.compress(python_profile()),
        "code-provenance.json": b"{}",
    }
)
APIS = [Api(Storage(MemoryBucket(), MemoryIndex()))]


@given(st.lists(st.tuples(st.integers(0, len(BASE) - 1), st.binary(max_size=4)), max_size=6), st.integers(0, 60))
def test_mutated_forms_are_never_an_error_of_the_collector(changes: list[tuple[int, bytes]], cut: int) -> None:
    data = bytearray(BASE)
    for at, change in changes:
        data[at : at + len(change)] = change
    response = APIS[0].client.post(INPUT, data=bytes(data[: len(data) - cut]), headers=FORM)
    assert response.status_code in (200, 400, 413, 422), response.text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.fixed_dictionaries({}, optional={"tags_profiler": JSON, "start": JSON, "attachments": JSON}) | JSON)
def test_no_event_is_an_error_of_the_collector(event: Any) -> None:
    response = send(APIS[0], {"profile.pprof": zstd.compress(python_profile())}, event)
    assert response.status_code in (200, 400, 413), response.text
