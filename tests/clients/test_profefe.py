"""Real clients against the real collector: a Go agent posts, ``go tool pprof`` and ``go tool trace`` read."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import urllib3

from profbucket.pprof import decode
from tests.support.canonical import Canonical, canonicalize
from tests.support.go_tool import Go, GoPprof, run
from tests.support.paths import DATA
from tests.support.serving import served

PROFILE_TYPES = ["cpu", "heap", "goroutine", "mutex", "block", "threadcreate", "trace"]
RANGE = {"from": "1970-01-01T00:00:00", "to": "2100-01-01T00:00:00"}


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Client:
    """A plain HTTP client, for details that the real clients do not show."""

    url: str

    def api_url(self, path: str, **query: str) -> str:
        """Return the URL of *path* in the API."""
        return f"{self.url}/api/0/{path}" + (f"?{urlencode(query)}" if query else "")

    def merge(self, service: str, profile_type: str, **query: str) -> str:
        """Return the URL of a merge over all time."""
        return self.api_url("profiles/merge", service=service, type=profile_type, **RANGE, **query)

    def get(self, path: str, **query: str) -> Response:
        return self._send("GET", self.api_url(path, **query))

    def find(self, service: str, **query: str) -> list[dict[str, Any]]:
        """Return all profiles of *service*; there must be some."""
        response = self.get("profiles", service=service, **RANGE, **query)
        assert response.status == 200, response.body
        profiles: list[dict[str, Any]] = response.json["body"]
        return profiles

    def post(self, service: str, profile_type: str, data: bytes, **query: str) -> str:
        """Post a profile and return its id."""
        response = self._send("POST", self.api_url("profiles", service=service, type=profile_type, **query), data)
        assert response.status == 200, response.body
        return str(response.json["body"]["id"])

    @staticmethod
    def _send(method: str, url: str, data: bytes | None = None) -> Response:
        response = urllib3.request(method, url, body=data, retries=False, timeout=60)
        return Response(response.status, response.data)


@pytest.fixture(scope="session")
def client(collector: str) -> Client:
    return Client(collector)


@pytest.fixture(scope="session")
def posted(shop: Path, collector: str) -> list[dict[str, Any]]:
    """The profiles that two versions of the shop have posted, two sets each, as the collector describes them."""
    first = ("-service", "shop", "-version", "0.0.1", "-label", "host=a b,c", "-count", "2")
    second = ("-service", "shop", "-version", "0.0.2", "-label", "host=a b,c", "-count", "2", "-slow")
    lines = [
        line
        for flags in (first, second)
        for line in run(str(shop), "-collector", collector, *flags).check().text.splitlines()
    ]
    responses = [json.loads(line) for line in lines]
    assert {response["code"] for response in responses} == {200}
    return [response["body"] for response in responses]


def data_files(profile_type: str, version: str = "0.0.1") -> list[Path]:
    return sorted((DATA / f"shop-{version}").glob(f"{profile_type}-?.*"))


def merge_with_go(go_pprof: GoPprof, directory: Path, sources: Sequence[Path | str]) -> bytes:
    """Return the merge of *sources* by ``go tool pprof -proto``."""
    output = directory / "go.pb.gz"
    go_pprof("-proto", "-symbolize=none", "-output", output, *sources).check()
    return output.read_bytes()


def samples(data: bytes) -> object:
    """Return the samples of a pprof in canonical form, without those that are zero."""
    profile: Canonical = canonicalize(data)
    return {sample: values for sample, values in profile.samples.items() if any(values)}


# The agent


def test_every_profile_that_an_agent_posts_is_found(client: Client, posted: list[dict[str, Any]]) -> None:
    """Each is found once, by service, by type and by version, as it was described to the agent."""
    profiles = client.find("shop")
    assert sorted(map(str, profiles)) == sorted(map(str, posted))
    assert Counter(profile["type"] for profile in profiles) == dict.fromkeys(PROFILE_TYPES, 4)
    for version in ("0.0.1", "0.0.2"):
        labels = [{"key": "host", "value": "a b,c"}, {"key": "version", "value": version}]
        of_version = client.find("shop", version=version)
        assert len(of_version) == 14
        assert all(profile["labels"] == labels for profile in of_version)
    assert {profile["id"] for profile in client.find("shop", type="cpu", labels="version=0.0.1")} == {
        profile["id"] for profile in posted[:14] if profile["type"] == "cpu"
    }


def test_services_are_listed(client: Client, posted: list[dict[str, Any]]) -> None:
    """A service is listed once it has a profile."""
    assert "shop" in client.get("services").json["body"]


def test_posting_again_changes_nothing(client: Client, posted: list[dict[str, Any]]) -> None:
    """Bytes posted again with the same labels are the same profile, which has the same id and is found once."""
    before = client.find("shop")
    for profile in posted:
        data = client.get(f"profiles/{profile['id']}").body
        labels = {label["key"]: label["value"] for label in profile["labels"]}
        assert client.post("shop", profile["type"], data, **labels) == profile["id"]
    assert client.find("shop") == before


def test_a_trace_posted_again_with_its_time_changes_nothing(client: Client) -> None:
    """A trace with created_at is found once, however often it is posted."""
    data = (DATA / "shop-0.0.1" / "trace-1.trace").read_bytes()
    ids = {client.post("traced", "trace", data, created_at="2026-11-22T10:00:00") for _ in range(3)}
    assert len(ids) == 1
    assert [profile["id"] for profile in client.find("traced")] == [*ids]


def test_an_agent_prints_the_error(shop: Path, collector: str) -> None:
    """The agent does not retry a rejected request, and prints the message of the collector."""
    result = run(str(shop), "-collector", collector, "-service", "", "-cpu-seconds", "0.05")
    assert result.returncode == 1
    assert "400 " in result.stderr.upper()
    assert "service" in result.stderr


# go tool pprof


def test_pprof_shows_a_merge(client: Client, go_pprof: GoPprof, posted: list[dict[str, Any]]) -> None:
    """``-top`` of a merge over all versions shows the functions of the program."""
    top = go_pprof("-top", client.merge("shop", "cpu")).check().text
    assert "main.priceCart" in top
    assert "main.score" in top
    assert "Type: cpu" in top


@pytest.mark.parametrize("profile_type", [name for name in PROFILE_TYPES if name != "trace"])
def test_pprof_reads_the_merge_of_each_profile_type(
    client: Client, go_pprof: GoPprof, posted: list[dict[str, Any]], tmp_path: Path, profile_type: str
) -> None:
    """pprof gets the same samples over HTTP as from the four stored files."""
    stored = []
    for number, profile in enumerate(client.find("shop", type=profile_type)):
        stored.append(tmp_path / f"{number}.pb.gz")
        stored[-1].write_bytes(client.get(f"profiles/{profile['id']}").body)
    assert len(stored) == 4
    fetched = merge_with_go(go_pprof, tmp_path, [client.merge("shop", profile_type)])
    assert samples(fetched) == samples(merge_with_go(go_pprof, tmp_path, stored))


def test_pprof_comments_describe_the_merge(
    client: Client, go_pprof: GoPprof, posted: list[dict[str, Any]]
) -> None:
    """``-comments`` prints the service, type and labels of a merge, and the number of profiles."""
    comments = go_pprof("-comments", client.merge("shop", "heap", version="0.0.2")).check().text
    assert comments.startswith("service=shop type=heap version=0.0.2 merged 2 profiles ")


def test_pprof_fetches_a_profile_by_its_id(client: Client, go_pprof: GoPprof, tmp_path: Path) -> None:
    """The bytes of an id are those that were posted, and pprof reads them."""
    data = data_files("heap")[0].read_bytes()
    profile_id = client.post("by-id", "heap", data)
    assert client.get(f"profiles/{profile_id}").body == data
    assert (
        "main.(*shop).render"
        in go_pprof("-top", "-alloc_space", client.api_url(f"profiles/{profile_id}")).check().text
    )


def test_pprof_fetches_ids_joined_by_plus(client: Client, go_pprof: GoPprof, tmp_path: Path) -> None:
    """``id+id`` is the merge of the two."""
    pair = data_files("heap")[:2]
    ids = "+".join(client.post("by-ids", "heap", file.read_bytes()) for file in pair)
    fetched = merge_with_go(go_pprof, tmp_path, [client.api_url(f"profiles/{ids}")])
    assert samples(fetched) == samples(merge_with_go(go_pprof, tmp_path, pair))


def test_pprof_finds_the_change_between_versions(client: Client, go_pprof: GoPprof) -> None:
    """``-base`` of two merges by label shows that main.priceCart, slower in 0.0.2, has the largest increase.

    The profiles are recorded ones: the shares of a running program depend on the load of the machine.
    """
    for version in ("0.0.1", "0.0.2"):
        for file in data_files("cpu", version):
            client.post("recorded", "cpu", file.read_bytes(), version=version)
    before = client.merge("recorded", "cpu", version="0.0.1")
    after = client.merge("recorded", "cpu", version="0.0.2")
    top = go_pprof("-top", "-nodecount=1", "-base", before, after).check().text.splitlines()
    assert top[-1].endswith(" main.priceCart")
    assert not top[-1].lstrip().startswith("-")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"service": "nobody", "type": "cpu", **RANGE}, "nobody"),
        ({"service": "mistaken", "type": "cpu", **RANGE, "version": "9"}, "version"),
        ({"service": "mistaken", "type": "brightness", **RANGE}, "brightness"),
        ({"service": "mistaken", "type": "trace", **RANGE}, "trace"),
        ({"service": "mistaken", **RANGE}, "type"),
        (
            {"service": "mistaken", "type": "cpu", "from": "2026-11-23T00:00:00", "to": "2026-11-22T00:00:00"},
            "from is after to",
        ),
        ({"service": "mistaken", "type": "cpu", "from": "yesterday"}, "yesterday"),
        ({"type": "cpu", **RANGE}, "service"),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_pprof_prints_the_error_of_a_merge(
    client: Client, go_pprof: GoPprof, query: dict[str, str], message: str
) -> None:
    """pprof prints the message of the collector, which names what is wrong."""
    client.post("mistaken", "cpu", data_files("cpu")[0].read_bytes())
    response = client.get("profiles/merge", **query)
    assert 400 <= response.status < 500
    assert message in response.json["error"]
    result = go_pprof("-top", client.api_url("profiles/merge", **query))
    assert result.returncode != 0
    assert response.json["error"] in result.stderr


def test_pprof_prints_which_id_is_missing(client: Client, go_pprof: GoPprof) -> None:
    """pprof prints which of two ids is missing."""
    present = client.post("half", "heap", data_files("heap")[0].read_bytes())
    missing = present[:-1] + ("0" if present[-1] != "0" else "1")
    path = f"profiles/{present}+{missing}"
    error = client.get(path).json["error"]
    assert missing in error
    assert present not in error
    result = go_pprof("-top", client.api_url(path))
    assert result.returncode != 0
    assert error in result.stderr


def test_profiles_of_go_and_python_merge_by_their_common_sample_types(client: Client, go_pprof: GoPprof) -> None:
    """CPU profiles of Go and Python in one service have different sample types; pprof shows the common ones."""
    files = [data_files("cpu")[0], DATA / "python" / "python-cpu.pb.gz"]
    for file in files:
        client.post("mixed", "cpu", file.read_bytes())
    url = client.merge("mixed", "cpu")
    assert "left out: wall (missing in 1 of 2 objects" in go_pprof("-comments", url).check().text
    assert "samples/count cpu/nanoseconds" in go_pprof("-raw", url).check().text
    ours, *theirs = (
        canonicalize(data) for data in (Client._send("GET", url).body, *(file.read_bytes() for file in files))
    )
    assert ours.header.sample_types == ((b"samples", b"count"), (b"cpu", b"nanoseconds"))
    cpu = [sum(values[-1] for values in profile.samples.values()) for profile in (ours, *theirs)]
    assert cpu[0] == cpu[1] + cpu[2]
    wall = canonicalize(Client._send("GET", f"{url}&sample_type=wall").body)
    assert wall.header.sample_types == ((b"wall", b"nanoseconds"),)


def test_profiles_without_a_common_sample_type_are_an_error_that_pprof_prints(
    client: Client, go_pprof: GoPprof
) -> None:
    client.post("unlike", "other", data_files("heap")[0].read_bytes())
    client.post("unlike", "other", data_files("mutex")[0].read_bytes())
    result = go_pprof("-top", client.merge("unlike", "other"))
    assert result.returncode != 0
    assert "[contentions/count, delay/nanoseconds]" in result.stderr
    assert "inuse_space/bytes" in result.stderr


def test_pprof_reads_a_profile_without_symbols(client: Client, go_pprof: GoPprof) -> None:
    """pprof posts addresses without names to symbolz, gets no symbols, and shows the profile by binary."""
    client.post("stripped", "cpu", (DATA / "shop-0.0.1" / "cpu-unsymbolized.pb.gz").read_bytes())
    url = client.merge("stripped", "cpu")
    assert "[shop]" in go_pprof("-top", url).check().text


@pytest.mark.parametrize(
    ("profile_type", "sources"),
    [
        ("cpu", [*data_files("cpu"), *data_files("cpu", "0.0.2")]),
        ("heap", [*data_files("heap"), *data_files("heap", "0.0.2")]),
        ("mutex", [*data_files("mutex"), *data_files("mutex", "0.0.2")]),
        ("block", [*data_files("block"), *data_files("block", "0.0.2")]),
        ("goroutine", [*data_files("goroutine"), *data_files("goroutine", "0.0.2")]),
        ("threadcreate", [*data_files("threadcreate"), *data_files("threadcreate", "0.0.2")]),
        ("cpu", [DATA / "python" / "python-cpu.pb.gz"]),
        ("heap", [DATA / "python" / "python-heap.pb"]),
        ("cpu", [DATA / "shop-0.0.1" / "cpu-unsymbolized.pb.gz", *data_files("cpu")]),
    ],
    ids=lambda case: case if isinstance(case, str) else case[0].name,
)
def test_a_merge_equals_the_merge_of_the_files_by_pprof(
    client: Client, go_pprof: GoPprof, tmp_path: Path, profile_type: str, sources: list[Path]
) -> None:
    """The merge has the same samples as the merge of the same files by ``go tool pprof -proto``."""
    service = f"merged from {sources[0].name}"
    for number, source in enumerate(sources):
        client.post(service, profile_type, source.read_bytes(), number=str(number))
    fetched = client.get("profiles/merge", service=service, type=profile_type, **RANGE)
    assert fetched.status == 200, fetched.body
    actual, expected = canonicalize(fetched.body), canonicalize(merge_with_go(go_pprof, tmp_path, sources))
    assert samples(fetched.body) == samples((tmp_path / "go.pb.gz").read_bytes())
    for name in ("sample_types", "period_type", "period", "time_nanos", "duration_nanos"):
        assert getattr(actual.header, name) == getattr(expected.header, name)


def test_pprof_reads_from_one_function_what_an_agent_posted_to_another(
    shop: Path, go_pprof: GoPprof, tmp_path: Path
) -> None:
    """Two functions share a storage; the merge function answers at its own URL, too."""
    storage = f"file://{tmp_path / 'profiles'}"
    flags = ("-service", "split", "-cpu-seconds", "0.2")
    with served(storage, tmp_path / "write.log", target="write") as write:
        run(str(shop), "-collector", f"{write}/write", *flags).check()
    with served(storage, tmp_path / "merge.log", target="merge") as merge:
        query = urlencode({"service": "split", "type": "cpu", **RANGE})
        for url in (f"{merge}/?{query}", f"{merge}/merge?{query}", Client(merge).merge("split", "cpu")):
            assert "main.priceCart" in go_pprof("-top", url).check().text


# go tool trace


def test_a_trace_is_returned_unchanged(
    client: Client, go: Go, posted: list[dict[str, Any]], tmp_path: Path
) -> None:
    """The stored trace has the posted bytes, and ``go tool trace`` reads it."""
    data = (DATA / "shop-0.0.1" / "trace-1.trace").read_bytes()
    file = tmp_path / "fetched.trace"
    file.write_bytes(client.get(f"profiles/{client.post('trace', 'trace', data)}").body)
    assert file.read_bytes() == data
    delays = go.run("tool", "trace", "-pprof=sched", str(file)).check().stdout
    assert decode(delays).message.sample


def test_a_trace_of_an_agent_is_readable(
    client: Client, go: Go, posted: list[dict[str, Any]], tmp_path: Path
) -> None:
    """``go tool trace`` reads a trace from the agent."""
    file = tmp_path / "posted.trace"
    profile = next(profile for profile in posted if profile["type"] == "trace")
    file.write_bytes(client.get(f"profiles/{profile['id']}").body)
    assert decode(go.run("tool", "trace", "-pprof=sync", str(file)).check().stdout).message.sample
