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
from tests.support.canonical import Canonical, canonical
from tests.support.go_tool import Go, GoPprof, run
from tests.support.paths import DATA
from tests.support.serving import served

KINDS = ["cpu", "heap", "goroutine", "mutex", "block", "threadcreate", "trace"]
RANGE = {"from": "1970-01-01T00:00:00", "to": "2100-01-01T00:00:00"}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Client:
    """HTTP, plainly, for what the real clients do not show."""

    url: str

    def at(self, path: str, **query: str) -> str:
        """The URL of *path* in the API."""
        return f"{self.url}/api/0/{path}" + (f"?{urlencode(query)}" if query else "")

    def merge(self, service: str, kind: str, **query: str) -> str:
        """The URL of a merge over all time."""
        return self.at("profiles/merge", service=service, type=kind, **RANGE, **query)

    def get(self, path: str, **query: str) -> Answer:
        return self._answer("GET", self.at(path, **query))

    def find(self, service: str, **query: str) -> list[dict[str, Any]]:
        """All profiles of *service*, whose answer must be a 200."""
        answer = self.get("profiles", service=service, **RANGE, **query)
        assert answer.status == 200, answer.body
        found: list[dict[str, Any]] = answer.json["body"]
        return found

    def post(self, service: str, kind: str, data: bytes, **query: str) -> str:
        """Post a profile and return its id."""
        answer = self._answer("POST", self.at("profiles", service=service, type=kind, **query), data)
        assert answer.status == 200, answer.body
        return str(answer.json["body"]["id"])

    @staticmethod
    def _answer(method: str, url: str, data: bytes | None = None) -> Answer:
        response = urllib3.request(method, url, body=data, retries=False, timeout=60)
        return Answer(response.status, response.data)


@pytest.fixture(scope="session")
def client(collector: str) -> Client:
    return Client(collector)


@pytest.fixture(scope="session")
def posted(shop: Path, collector: str) -> list[dict[str, Any]]:
    """What the collector answered when two versions of the shop posted two sets of profiles each."""
    first = ("-service", "shop", "-version", "0.0.1", "-label", "host=a b,c", "-count", "2")
    second = ("-service", "shop", "-version", "0.0.2", "-label", "host=a b,c", "-count", "2", "-slow")
    lines = [
        line
        for flags in (first, second)
        for line in run(str(shop), "-collector", collector, *flags).check().text.splitlines()
    ]
    answers = [json.loads(line) for line in lines]
    assert {answer["code"] for answer in answers} == {200}
    return [answer["body"] for answer in answers]


def files(kind: str, version: str = "0.0.1") -> list[Path]:
    return sorted((DATA / f"shop-{version}").glob(f"{kind}-?.*"))


def merged_by_go(go_pprof: GoPprof, directory: Path, sources: Sequence[Path | str]) -> bytes:
    """What ``go tool pprof -proto`` makes of *sources*."""
    output = directory / "go.pb.gz"
    go_pprof("-proto", "-symbolize=none", "-output", output, *sources).check()
    return output.read_bytes()


def samples(data: bytes) -> object:
    """The samples of a pprof in canonical form, without those that are zero."""
    profile: Canonical = canonical(data)
    return {sample: values for sample, values in profile.samples.items() if any(values)}


# The agent


def test_all_that_an_agent_posts_is_found(client: Client, posted: list[dict[str, Any]]) -> None:
    """Each posted profile is found once, by service, by type and by version, as it was answered to the agent."""
    found = client.find("shop")
    assert sorted(map(str, found)) == sorted(map(str, posted))
    assert Counter(profile["type"] for profile in found) == dict.fromkeys(KINDS, 4)
    for version in ("0.0.1", "0.0.2"):
        labels = [{"key": "host", "value": "a b,c"}, {"key": "version", "value": version}]
        of_version = client.find("shop", version=version)
        assert len(of_version) == 14
        assert all(profile["labels"] == labels for profile in of_version)
    assert {profile["id"] for profile in client.find("shop", type="cpu", labels="version=0.0.1")} == {
        profile["id"] for profile in posted[:14] if profile["type"] == "cpu"
    }


def test_services_are_listed(client: Client, posted: list[dict[str, Any]]) -> None:
    """A service is listed once something was posted for it."""
    assert "shop" in client.get("services").json["body"]


def test_posting_again_changes_nothing(client: Client, posted: list[dict[str, Any]]) -> None:
    """The same bytes under the same labels are the same profile: they get the same id and are found once."""
    before = client.find("shop")
    for profile in posted:
        data = client.get(f"profiles/{profile['id']}").body
        labels = {label["key"]: label["value"] for label in profile["labels"]}
        assert client.post("shop", profile["type"], data, **labels) == profile["id"]
    assert client.find("shop") == before


def test_a_trace_posted_again_with_its_time_changes_nothing(client: Client) -> None:
    """A trace that comes with created_at is found once, however often it is posted."""
    data = (DATA / "shop-0.0.1" / "trace-1.trace").read_bytes()
    ids = {client.post("traced", "trace", data, created_at="2026-11-22T10:00:00") for _ in range(3)}
    assert len(ids) == 1
    assert [profile["id"] for profile in client.find("traced")] == [*ids]


def test_an_agent_is_told_why(shop: Path, collector: str) -> None:
    """A request that the collector refuses is final for the agent, which shows the collector's sentence."""
    done = run(str(shop), "-collector", collector, "-service", "", "-cpu-seconds", "0.05")
    assert done.returncode == 1
    assert "400 " in done.stderr.upper()
    assert "service" in done.stderr


# go tool pprof


def test_pprof_shows_a_merge(client: Client, go_pprof: GoPprof, posted: list[dict[str, Any]]) -> None:
    """``-top`` of a merge over all versions shows the functions of the program."""
    top = go_pprof("-top", client.merge("shop", "cpu")).check().text
    assert "main.priceCart" in top
    assert "main.score" in top
    assert "Type: cpu" in top


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "trace"])
def test_pprof_reads_the_merge_of_each_kind(
    client: Client, go_pprof: GoPprof, posted: list[dict[str, Any]], tmp_path: Path, kind: str
) -> None:
    """Over HTTP, pprof gets the same samples as from the four stored files together."""
    stored = []
    for number, profile in enumerate(client.find("shop", type=kind)):
        stored.append(tmp_path / f"{number}.pb.gz")
        stored[-1].write_bytes(client.get(f"profiles/{profile['id']}").body)
    assert len(stored) == 4
    fetched = merged_by_go(go_pprof, tmp_path, [client.merge("shop", kind)])
    assert samples(fetched) == samples(merged_by_go(go_pprof, tmp_path, stored))


def test_pprof_comments_say_what_was_merged(
    client: Client, go_pprof: GoPprof, posted: list[dict[str, Any]]
) -> None:
    """``-comments`` shows of which service, type and labels a merge is, and of how many profiles."""
    comments = go_pprof("-comments", client.merge("shop", "heap", version="0.0.2")).check().text
    assert comments.startswith("service=shop type=heap version=0.0.2 merged 2 profiles ")


def test_pprof_fetches_a_profile_by_its_id(client: Client, go_pprof: GoPprof, tmp_path: Path) -> None:
    """The bytes under an id are those that were posted, and pprof reads them from there."""
    data = files("heap")[0].read_bytes()
    profile_id = client.post("by-id", "heap", data)
    assert client.get(f"profiles/{profile_id}").body == data
    assert (
        "main.(*shop).render" in go_pprof("-top", "-alloc_space", client.at(f"profiles/{profile_id}")).check().text
    )


def test_pprof_fetches_ids_joined_by_plus(client: Client, go_pprof: GoPprof, tmp_path: Path) -> None:
    """``id+id`` is the merge of the two."""
    pair = files("heap")[:2]
    ids = "+".join(client.post("by-ids", "heap", file.read_bytes()) for file in pair)
    fetched = merged_by_go(go_pprof, tmp_path, [client.at(f"profiles/{ids}")])
    assert samples(fetched) == samples(merged_by_go(go_pprof, tmp_path, pair))


def test_pprof_finds_what_changed_between_versions(
    client: Client, go_pprof: GoPprof, posted: list[dict[str, Any]]
) -> None:
    """``-base`` of two merges by label shows main.priceCart, slower in 0.0.2, as what changed most, upwards."""
    before = client.merge("shop", "cpu", version="0.0.1")
    after = client.merge("shop", "cpu", version="0.0.2")
    top = go_pprof("-top", "-nodecount=1", "-base", before, after).check().text.splitlines()
    assert top[-1].endswith(" main.priceCart")
    assert not top[-1].lstrip().startswith("-")


@pytest.mark.parametrize(
    ("query", "sentence"),
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
def test_pprof_prints_why_there_is_no_merge(
    client: Client, go_pprof: GoPprof, query: dict[str, str], sentence: str
) -> None:
    """The sentence of the collector's error is on pprof's terminal, and it says what is wrong."""
    client.post("mistaken", "cpu", files("cpu")[0].read_bytes())
    answer = client.get("profiles/merge", **query)
    assert 400 <= answer.status < 500
    assert sentence in answer.json["error"]
    done = go_pprof("-top", client.at("profiles/merge", **query))
    assert done.returncode != 0
    assert answer.json["error"] in done.stderr


def test_pprof_prints_which_id_is_missing(client: Client, go_pprof: GoPprof) -> None:
    """Of two ids the one that is not there is named on pprof's terminal."""
    present = client.post("half", "heap", files("heap")[0].read_bytes())
    missing = present[:-1] + ("0" if present[-1] != "0" else "1")
    path = f"profiles/{present}+{missing}"
    error = client.get(path).json["error"]
    assert missing in error
    assert present not in error
    done = go_pprof("-top", client.at(path))
    assert done.returncode != 0
    assert error in done.stderr


def test_pprof_prints_that_profiles_do_not_mix(client: Client, go_pprof: GoPprof) -> None:
    """CPU profiles of Go and Python in one service have different sample types: the error names both."""
    client.post("mixed", "cpu", files("cpu")[0].read_bytes())
    client.post("mixed", "cpu", (DATA / "python" / "python-cpu.pb.gz").read_bytes())
    done = go_pprof("-top", client.merge("mixed", "cpu"))
    assert done.returncode != 0
    assert "[samples/count, cpu/nanoseconds]" in done.stderr
    assert "[samples/count, wall/nanoseconds, cpu/nanoseconds]" in done.stderr


def test_pprof_reads_a_profile_without_symbols(client: Client, go_pprof: GoPprof) -> None:
    """pprof asks symbolz about addresses without names, gets an answer, and shows the profile by binary."""
    client.post("stripped", "cpu", (DATA / "shop-0.0.1" / "cpu-unsymbolized.pb.gz").read_bytes())
    url = client.merge("stripped", "cpu")
    assert "[shop]" in go_pprof("-top", url).check().text


@pytest.mark.parametrize(
    ("kind", "sources"),
    [
        ("cpu", [*files("cpu"), *files("cpu", "0.0.2")]),
        ("heap", [*files("heap"), *files("heap", "0.0.2")]),
        ("mutex", [*files("mutex"), *files("mutex", "0.0.2")]),
        ("block", [*files("block"), *files("block", "0.0.2")]),
        ("goroutine", [*files("goroutine"), *files("goroutine", "0.0.2")]),
        ("threadcreate", [*files("threadcreate"), *files("threadcreate", "0.0.2")]),
        ("cpu", [DATA / "python" / "python-cpu.pb.gz"]),
        ("heap", [DATA / "python" / "python-heap.pb"]),
        ("cpu", [DATA / "shop-0.0.1" / "cpu-unsymbolized.pb.gz", *files("cpu")]),
    ],
    ids=lambda case: case if isinstance(case, str) else case[0].name,
)
def test_a_merge_equals_what_pprof_makes_of_the_files(
    client: Client, go_pprof: GoPprof, tmp_path: Path, kind: str, sources: list[Path]
) -> None:
    """The merge of stored profiles is, sample by sample, what ``go tool pprof -proto`` makes of the same files."""
    service = f"merged from {sources[0].name}"
    for number, source in enumerate(sources):
        client.post(service, kind, source.read_bytes(), number=str(number))
    fetched = client.get("profiles/merge", service=service, type=kind, **RANGE)
    assert fetched.status == 200, fetched.body
    ours, go = canonical(fetched.body), canonical(merged_by_go(go_pprof, tmp_path, sources))
    assert samples(fetched.body) == samples((tmp_path / "go.pb.gz").read_bytes())
    for name in ("sample_types", "period_type", "period", "time_nanos", "duration_nanos"):
        assert getattr(ours.header, name) == getattr(go.header, name)


def test_pprof_reads_from_one_function_what_an_agent_posted_to_another(
    shop: Path, go_pprof: GoPprof, tmp_path: Path
) -> None:
    """Where writing and merging are functions of their own, the merge function answers at its bare URL, too."""
    storage = f"file://{tmp_path / 'profiles'}"
    flags = ("-service", "split", "-cpu-seconds", "0.2")
    with served(storage, tmp_path / "write.log", target="write") as writer:
        run(str(shop), "-collector", f"{writer}/write", *flags).check()
    with served(storage, tmp_path / "merge.log", target="merge") as merger:
        query = urlencode({"service": "split", "type": "cpu", **RANGE})
        for url in (f"{merger}/?{query}", f"{merger}/merge?{query}", Client(merger).merge("split", "cpu")):
            assert "main.priceCart" in go_pprof("-top", url).check().text


# go tool trace


def test_a_trace_comes_back_as_it_was(
    client: Client, go: Go, posted: list[dict[str, Any]], tmp_path: Path
) -> None:
    """The stored trace is byte for byte what was posted, and ``go tool trace`` reads it."""
    data = (DATA / "shop-0.0.1" / "trace-1.trace").read_bytes()
    file = tmp_path / "fetched.trace"
    file.write_bytes(client.get(f"profiles/{client.post('trace', 'trace', data)}").body)
    assert file.read_bytes() == data
    delays = go.run("tool", "trace", "-pprof=sched", str(file)).check().stdout
    assert decode(delays).message.sample


def test_a_trace_of_an_agent_is_readable(
    client: Client, go: Go, posted: list[dict[str, Any]], tmp_path: Path
) -> None:
    """``go tool trace`` reads what the agent posted."""
    file = tmp_path / "posted.trace"
    profile = next(profile for profile in posted if profile["type"] == "trace")
    file.write_bytes(client.get(f"profiles/{profile['id']}").body)
    assert decode(go.run("tool", "trace", "-pprof=sync", str(file)).check().stdout).message.sample
