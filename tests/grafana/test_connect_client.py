"""A real client of the Connect protocol against a collector, and its figures against ``go tool pprof``."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from connectrpc.client import ConnectClientSync
from connectrpc.code import Code
from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_json_codec
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from google.protobuf.message import Message

from profbucket.auth import hash_secret
from profbucket.grafana import querier_pb2 as pb
from profbucket.pprof import profile_pb2
from profbucket.pprof.codec import decode
from tests.support.browser import post
from tests.support.go_tool import GoPprof
from tests.support.paths import DATA
from tests.support.serving import served

_Answer = TypeVar("_Answer", bound=Message)

SECRET = "the-secret"
KEYS = json.dumps(
    [{"name": "grafana", "sha256": hash_secret(SECRET).hex(), "scopes": ["read", "write"], "services": ["sh*"]}]
)
FILES = {
    (version, profile_type): sorted((DATA / f"shop-{version}").glob(f"{profile_type}-[123].pb.gz"))
    for version in ("0.0.1", "0.0.2")
    for profile_type in ("cpu", "mutex")
}
TIMES = [decode(file.read_bytes()).time_nanos for files in FILES.values() for file in files]
RANGE: dict[str, Any] = {"start": min(TIMES) // 10**6 - 1, "end": max(TIMES) // 10**6 + 1}
CPU = "process_cpu:cpu:nanoseconds:cpu:nanoseconds"
SHOP: dict[str, Any] = {"profile_typeID": CPU, "label_selector": '{service_name="shop"}', **RANGE}


class Client:
    """Grafana's data source, as far as the protocol goes."""

    def __init__(self, url: str, *, is_json: bool = False, secret: str = "") -> None:
        codec = google_protobuf_json_codec() if is_json else google_protobuf_binary_codec()
        self._client = ConnectClientSync(url, codec=codec)
        self._headers = {"Authorization": f"Bearer {secret}"} if secret else {}

    def call(
        self, method: str, request: Message, answer: type[_Answer], service: str = "querier.v1.QuerierService"
    ) -> _Answer:
        info = MethodInfo(
            name=method,
            service_name=service,
            input=type(request),
            output=answer,
            idempotency_level=IdempotencyLevel.NO_SIDE_EFFECTS,
            stream_type=StreamType.UNARY,
        )
        result: _Answer = self._client.execute_unary(request=request, method=info, headers=self._headers)
        return result


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Yield the URLs of ``profbucket serve`` and of the function ``query`` with two versions of the shop."""
    directory = tmp_path_factory.mktemp("grafana")
    storage = f"file://{directory / 'profiles'}"
    with (
        served(storage, directory / "log", program="profbucket") as url,
        served(storage, directory / "log-of-query", target="query") as query_url,
    ):
        for (version, profile_type), files in FILES.items():
            for file in files:
                post(url, file.read_bytes(), service="shop", type=profile_type, version=version)
        yield url, query_url


@pytest.fixture(scope="module")
def url(urls: tuple[str, str]) -> str:
    return urls[0]


@pytest.fixture(params=["protobuf", "json", "query"])
def client(request: pytest.FixtureRequest, urls: tuple[str, str]) -> Client:
    return Client(urls[request.param == "query"], is_json=request.param == "json")


class Top:
    """The flat and the cumulative values of each function, as ``go tool pprof -top`` prints them."""

    def __init__(self, go_pprof: GoPprof, *arguments: str | Path, unit: str) -> None:
        text = go_pprof("-top", "-nodecount=1000000", "-nodefraction=0", f"-unit={unit}", *arguments).check().text
        rows = [line.split(maxsplit=5) for line in text.partition("cum%\n")[2].splitlines()]
        self.flat = {row[5].removesuffix(" (inline)"): self._number(row[0], unit) for row in rows}
        self.cum = {row[5].removesuffix(" (inline)"): self._number(row[3], unit) for row in rows}

    @staticmethod
    def _number(text: str, unit: str) -> int:
        return int(text.removesuffix(unit))


def sums(graph: pb.FlameGraph | pb.FlameGraphDiff, side: int = 0) -> tuple[dict[str, int], dict[str, int]]:
    """Return the own value of each function of *graph* and the total, which counts outermost calls only."""
    width = 7 if isinstance(graph, pb.FlameGraphDiff) else 4
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    above: list[tuple[int, int, frozenset[str]]] = []
    for depth, level in enumerate(graph.levels):
        nodes, end = [], 0
        for at in range(0, len(level.values), width):
            offset, value, self_value = level.values[at + 3 * side : at + 3 * side + 3]
            name = graph.names[level.values[at + width - 1]]
            begin = end + offset
            end = begin + value
            callers = next((path for first, last, path in above if first <= begin < last), frozenset[str]())
            if depth:
                own[name] += self_value
                total[name] += 0 if name in callers else value
            nodes.append((begin, end, callers | {name}))
        above = nodes
    return dict(own), dict(total)


def test_each_method(client: Client) -> None:
    types = client.call("ProfileTypes", pb.ProfileTypesRequest(**RANGE), pb.ProfileTypesResponse)
    assert [one.ID for one in types.profile_types] == [
        "mutex:contentions:count:contentions:count",
        "mutex:delay:nanoseconds:contentions:count",
        CPU,
        "process_cpu:samples:count:cpu:nanoseconds",
    ]
    names = client.call("LabelNames", pb.LabelNamesRequest(matchers=["{}"]), pb.LabelNamesResponse).names
    assert list(names) == ["service_name", "version"]
    values = client.call("LabelValues", pb.LabelValuesRequest(name="version"), pb.LabelValuesResponse).names
    assert list(values) == ["0.0.1", "0.0.2"]
    series = client.call("Series", pb.SeriesRequest(label_names=["version"]), pb.SeriesResponse)
    assert len(series.labels_set) == 2
    assert client.call("GetProfileStats", pb.GetProfileStatsRequest(), pb.GetProfileStatsResponse).data_ingested
    client.call("AnalyzeQuery", pb.AnalyzeQueryRequest(query="{}"), pb.AnalyzeQueryResponse)
    settings = "settings.v1.SettingsService"
    assert not client.call("Get", pb.GetSettingsRequest(), pb.GetSettingsResponse, settings).settings
    setting = pb.Setting(name="a", value="b")
    assert client.call("Set", pb.SetSettingsRequest(setting=setting), pb.SetSettingsResponse, settings)
    spans = pb.SelectMergeSpanProfileRequest(span_selector=["1"], **SHOP)
    assert not client.call("SelectMergeSpanProfile", spans, pb.SelectMergeSpanProfileResponse).flamegraph.names


def test_an_empty_result(client: Client) -> None:
    request = pb.SelectMergeStacktracesRequest(**{**SHOP, "label_selector": '{service_name="x"}'})
    answer = client.call("SelectMergeStacktraces", request, pb.SelectMergeStacktracesResponse)
    assert not answer.HasField("flamegraph")


@pytest.mark.parametrize(
    ("method", "changes", "code"),
    [
        ("SelectMergeStacktraces", {"label_selector": "{"}, Code.INVALID_ARGUMENT),
        ("SelectMergeStacktraces", {"max_nodes": 10**9}, Code.INVALID_ARGUMENT),
        ("SelectMergeStacktraces", {"start": 0, "end": 0}, Code.INVALID_ARGUMENT),
        ("Missing", {}, Code.UNIMPLEMENTED),
    ],
)
def test_errors(client: Client, method: str, changes: dict[str, Any], code: Code) -> None:
    request = pb.SelectMergeStacktracesRequest(**{**SHOP, **changes})
    with pytest.raises(ConnectError) as raised:
        client.call(method, request, pb.SelectMergeStacktracesResponse)
    assert raised.value.code == code
    assert raised.value.message


def test_keys(tmp_path: Path) -> None:
    with served((tmp_path / "profiles").as_uri(), tmp_path / "log", PROFBUCKET_KEYS=KEYS) as url:
        for secret, code in (("", Code.UNAUTHENTICATED), ("wrong", Code.UNAUTHENTICATED)):
            with pytest.raises(ConnectError) as raised:
                Client(url, secret=secret).call("ProfileTypes", pb.ProfileTypesRequest(), pb.ProfileTypesResponse)
            assert raised.value.code == code
        answer = Client(url, secret=SECRET).call("ProfileTypes", pb.ProfileTypesRequest(), pb.ProfileTypesResponse)
        assert not answer.profile_types


class TestFigures:
    """Each figure is that of ``go tool pprof`` for the same files."""

    def test_a_flame_graph(self, url: str, go_pprof: GoPprof) -> None:
        top = Top(go_pprof, *FILES["0.0.1", "cpu"], *FILES["0.0.2", "cpu"], unit="ns")
        request = pb.SelectMergeStacktracesRequest(**SHOP)
        answer = Client(url).call("SelectMergeStacktraces", request, pb.SelectMergeStacktracesResponse)
        own, total = sums(answer.flamegraph)
        assert answer.flamegraph.total == sum(top.flat.values())
        assert answer.flamegraph.max_self <= max(own.values())
        assert (own, total) == (top.flat, top.cum)

    def test_a_difference(self, url: str, go_pprof: GoPprof) -> None:
        versions = ("0.0.1", "0.0.2")
        sides = [
            pb.SelectMergeStacktracesRequest(**{**SHOP, "label_selector": f'{{version="{version}"}}'})
            for version in versions
        ]
        answer = Client(url).call("Diff", pb.DiffRequest(left=sides[0], right=sides[1]), pb.DiffResponse)
        for side, version in enumerate(versions):
            top = Top(go_pprof, *FILES[version, "cpu"], unit="ns")
            own, total = sums(answer.flamegraph, side)
            assert {name: value for name, value in own.items() if total[name]} == top.flat
            assert {name: value for name, value in total.items() if value} == top.cum
            ticks = (answer.flamegraph.leftTicks, answer.flamegraph.rightTicks)[side]
            assert ticks == sum(top.flat.values())

    def test_a_profile(self, url: str, go_pprof: GoPprof, tmp_path: Path) -> None:
        request = pb.SelectMergeProfileRequest(**SHOP)
        profile = Client(url).call("SelectMergeProfile", request, profile_pb2.Profile)
        file = tmp_path / "merged.pb"
        file.write_bytes(profile.SerializeToString())
        top = Top(go_pprof, file, unit="ns")
        expected = Top(go_pprof, *FILES["0.0.1", "cpu"], *FILES["0.0.2", "cpu"], unit="ns")
        assert (top.flat, top.cum) == (expected.flat, expected.cum)

    @pytest.mark.parametrize("version", ["0.0.1", "0.0.2"])
    def test_a_time_series(self, url: str, go_pprof: GoPprof, version: str) -> None:
        request = pb.SelectSeriesRequest(group_by=["version"], step=0.5, **{**SHOP, "end": RANGE["end"] + 500})
        answer = Client(url).call("SelectSeries", request, pb.SelectSeriesResponse)
        by_version = {one.labels[0].value: sum(point.value for point in one.points) for one in answer.series}
        assert by_version[version] == sum(Top(go_pprof, *FILES[version, "cpu"], unit="ns").flat.values())
