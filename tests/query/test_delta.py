"""``delta=1``: the increase of counters over a range."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.api.app import create_app
from profbucket.api.routes import Role
from profbucket.config import Config
from profbucket.errors import Invalid, NotFound, NotMergeable, TooMany
from profbucket.ingest.collector import Collector
from profbucket.limits import Limits
from profbucket.maintenance.compactor import Compactor
from profbucket.model.ids import ProfileId
from profbucket.model.labels import Labels
from profbucket.model.merge_options import MergeOptions
from profbucket.model.meta import Query
from profbucket.model.profile_type import ProfileType
from profbucket.model.sample_kinds import Aggregate
from profbucket.pprof import decode
from profbucket.query.querier import Querier
from profbucket.storage.open import open_storage
from profbucket.storage.store import Storage
from profbucket.times import LATEST, SECOND
from tests.support.agent.programs import SCRIPTS, program
from tests.support.go_tool import GoPprof
from tests.support.paths import ROOT
from tests.support.profiles import Profile, Sample, encode, stack

HEAP = (b"alloc_objects", b"alloc_space", b"inuse_objects", b"inuse_space")
DATA = ROOT / "tests" / "data" / "shop-0.0.1"
T = 1_800_000_000 * SECOND
ALWAYS = Query("api", ProfileType.HEAP, 0, LATEST)
DELTA = MergeOptions(aggregate=Aggregate.DELTA)

Values = dict[bytes, tuple[int, ...]]  # by leaf function


def heap(values: Values, at: int, sample_types: Sequence[bytes] = HEAP) -> bytes:
    samples = tuple(Sample(stack(name.decode()), value) for name, value in values.items())
    types = tuple((sample_type, b"count") for sample_type in sample_types)
    return encode(Profile(samples, sample_types=types, time_nanos=T + at * SECOND))


def read(data: bytes) -> Values:
    """Return the values of a profile by leaf function."""
    message = decode(data).message
    names = {f.id: message.string_table[f.name] for f in message.function}
    leaf = {x.id: names[x.line[0].function_id] for x in message.location}
    return {leaf[sample.location_id[0]]: tuple(sample.value) for sample in message.sample}


class StoredProfiles:
    """A storage with profiles of one service."""

    def __init__(self, limits: Limits = Limits()) -> None:
        self.storage: Storage = open_storage("memory:")
        self.limits = limits
        self.collector = Collector(self.storage)

    def put(self, values: Values, at: int, instance: str = "a", sample_types: Sequence[bytes] = HEAP) -> str:
        labels = Labels.from_pairs([("instance", instance)])
        return self.collector.collect("api", ProfileType.HEAP, labels, heap(values, at, sample_types)).id

    @property
    def querier(self) -> Querier:
        return Querier(self.storage, self.limits)

    def delta(self, query: Query = ALWAYS) -> Values:
        return read(self.querier.merge(query, DELTA).data)

    def comment(self, query: Query = ALWAYS) -> str:
        message = decode(self.querier.merge(query, DELTA).data).message
        return message.string_table[message.comment[0]].decode()


@pytest.fixture
def stored() -> StoredProfiles:
    return StoredProfiles()


def test_a_delta_has_the_increase_of_counters_and_the_last_values_of_gauges(stored: StoredProfiles) -> None:
    stored.put({b"f": (10, 100, 5, 50)}, 0)
    stored.put({b"f": (15, 150, 9, 90), b"g": (1, 10, 1, 10)}, 60)
    stored.put({b"f": (30, 300, 2, 20), b"g": (4, 40, 0, 0)}, 120)
    assert stored.delta() == {b"f": (20, 200, 2, 20), b"g": (4, 40, 0, 0)}
    assert stored.comment() == (
        "service=api type=heap delta of 3 profiles in 1 series from 2027-01-15T08:00:00Z to 2027-01-15T08:02:00Z"
    )


def test_the_deltas_of_series_are_added_up(stored: StoredProfiles) -> None:
    stored.put({b"f": (10, 100, 1, 1)}, 0, "a")
    stored.put({b"f": (1000, 10000, 1, 1)}, 1, "b")
    stored.put({b"f": (12, 120, 2, 2)}, 60, "a")
    stored.put({b"f": (1003, 10030, 3, 3)}, 61, "b")
    assert stored.delta() == {b"f": (5, 50, 5, 5)}


def test_after_a_restart_the_whole_value_is_increase(stored: StoredProfiles) -> None:
    """10 → 25, restart, 3 → 8: the increase is 15 + 8."""
    for at, value in enumerate((10, 25, 3, 8)):
        stored.put({b"f": (value, value * 10, 1, value)}, at * 60)
    assert stored.delta() == {b"f": (23, 230, 1, 8)}
    assert "1 restarts" in stored.comment()


def test_a_restart_right_after_the_first_profile(stored: StoredProfiles) -> None:
    for at, value in enumerate((10, 3, 1)):
        stored.put({b"f": (value, value, 0, 0)}, at)
    assert stored.delta() == {b"f": (4, 4, 0, 0)}


@given(st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=6), min_size=1, max_size=4))
def test_the_delta_is_the_sum_of_all_increments_after_the_first_profile(runs: list[list[int]]) -> None:
    """For any increments and any number of restarts after which the counter is lower than ever."""
    stored = StoredProfiles()
    at, expected = 0, 0
    for number, increments in enumerate(runs):
        value = 100 - 10 * number
        for step, increment in enumerate(increments):
            added = increment if step else value if number else 0
            expected += added
            value += increment if step else 0
            stored.put({b"f": (value, 0, 0, 7)}, at)
            at += 1
    if at < 2:
        return
    assert stored.delta().get(b"f", (0,))[0] == expected


def test_the_result_is_that_of_go_tool_pprof_with_a_base(go_pprof: GoPprof, tmp_path: Path) -> None:
    """Compare with `go tool pprof -base` on heap profiles of one Go process."""
    storage = open_storage("memory:")
    files = sorted(DATA.glob("heap-?.pb.gz"))
    for file in files:
        Collector(storage).collect("api", ProfileType.HEAP, Labels(), file.read_bytes())
    (tmp_path / "ours").write_bytes(Querier(storage).merge(ALWAYS, DELTA).data)

    def top(*arguments: str | Path) -> list[str]:
        output = (
            go_pprof("-top", "-unit=B", "-sample_index=alloc_space", "-nodefraction=0", *arguments).check().text
        )
        return [
            line.split(None, 5)[5] + line.split()[0]
            for line in output.splitlines()
            if re.match(r"\s+-?\d+B", line)
        ]

    assert sorted(top(tmp_path / "ours")) == sorted(top("-base", files[0], files[-1]))
    assert len(top(tmp_path / "ours")) > 10


def test_a_series_with_one_profile_is_left_out_and_counted(stored: StoredProfiles) -> None:
    stored.put({b"f": (10, 100, 1, 1)}, 0, "a")
    stored.put({b"f": (11, 110, 1, 1)}, 1, "a")
    stored.put({b"f": (99, 99, 99, 99)}, 2, "b")
    assert stored.delta() == {b"f": (1, 10, 1, 1)}
    assert "1 with one profile left out" in stored.comment()


def test_a_single_profile_is_an_error(stored: StoredProfiles) -> None:
    stored.put({b"f": (10, 100, 1, 1)}, 0)
    with pytest.raises(NotFound) as error:
        stored.delta()
    assert error.value.code == "nothing_to_compare"


def test_no_profiles_are_an_error(stored: StoredProfiles) -> None:
    with pytest.raises(NotFound, match="nothing found: service=api type=heap"):
        stored.delta()


def test_profiles_without_counters_and_limits_are_rejected() -> None:
    stored = StoredProfiles()
    stored.put({b"f": (1,)}, 0, sample_types=(b"goroutine",))
    stored.put({b"f": (2,)}, 1, sample_types=(b"goroutine",))
    with pytest.raises(Invalid) as error:
        stored.delta()
    assert error.value.code == "no_counters"
    with pytest.raises(NotMergeable):
        stored.querier.merge(Query("api", ProfileType.TRACE, 0, LATEST), DELTA)
    with pytest.raises(Invalid) as error:
        stored.querier.merge(Query("api", ProfileType.HEAP, 0, LATEST, limit=3), DELTA)
    assert error.value.code == "delta_with_limit"


def test_a_series_with_one_profile_that_has_not_expired_is_left_out(stored: StoredProfiles) -> None:
    expired_id = stored.put({b"f": (10, 100, 1, 1)}, 0, "a")
    stored.put({b"f": (90, 900, 9, 9)}, 1, "a")
    stored.put({b"f": (1, 10, 1, 1)}, 2, "b")
    stored.put({b"f": (3, 30, 3, 3)}, 3, "b")
    stored.storage.bucket.delete(ProfileId.parse(expired_id).object_key)
    assert stored.delta() == {b"f": (2, 20, 3, 3)}
    assert "1 with one profile left out, 1 had expired" in stored.comment()


def test_the_limits_of_a_merge_apply() -> None:
    for limits, code in (
        (Limits(merge=3), "max_merge_exceeded"),
        (Limits(merge_bytes=10), "max_merge_bytes_exceeded"),
    ):
        stored = StoredProfiles(limits)
        for instance in "ab":
            for at in range(2):
                stored.put({b"f": (at, at, 0, 0)}, at, instance)
        with pytest.raises(TooMany) as error:
            stored.delta()
        assert error.value.code == code


def test_duration_and_time_are_those_of_the_range(stored: StoredProfiles) -> None:
    stored.put({b"f": (1, 1, 1, 1)}, 0)
    stored.put({b"f": (2, 2, 1, 1)}, 600)
    message = decode(stored.querier.merge(ALWAYS, DELTA).data).message
    assert (message.time_nanos, message.duration_nanos) == (T, 600 * SECOND)


# The comment of a plain merge


def test_the_comment_of_a_merge_of_counters_says_that_they_are_added_up(stored: StoredProfiles) -> None:
    for at in range(2):
        stored.put({b"f": (1, 1, 1, 1)}, at)
    message = decode(stored.querier.merge(ALWAYS).data).message
    comment = message.string_table[message.comment[0]].decode()
    assert comment.endswith(
        "; alloc_objects, alloc_space count from the start of each process, and inuse_objects, inuse_space are"
        " values of one moment; all are added up here: see aggregate=auto"
    )
    ids = [ProfileId.parse(meta.id) for meta in stored.querier.find(ALWAYS).profiles]
    by_id = decode(stored.querier.merge_ids(ids).data).message
    assert "see aggregate=auto" in by_id.string_table[by_id.comment[0]].decode()


def test_the_comment_of_other_merges_has_no_warning(stored: StoredProfiles) -> None:
    stored.put({b"f": (1, 1, 1, 1)}, 0)
    first = decode(stored.querier.merge(ALWAYS).data).message
    assert "aggregate" not in first.string_table[first.comment[0]].decode()
    other = StoredProfiles()
    for at in range(2):
        other.put({b"f": (at + 1,)}, at, sample_types=(b"cpu",))
    second = decode(other.querier.merge(ALWAYS).data).message
    assert "aggregate" not in second.string_table[second.comment[0]].decode()


# HTTP and command line


def test_a_delta_can_be_requested_over_http(stored: StoredProfiles) -> None:
    stored.put({b"f": (1, 10, 1, 1)}, 0)
    stored.put({b"f": (3, 30, 2, 2)}, 1)
    app = create_app(Config("memory:", anonymous=True), Role.QUERY, querier=stored.querier).test_client()
    path = "/api/0/profiles/merge?service=api&type=heap&from=0&to=2200000000"
    response = app.get(f"{path}&delta=1")
    assert (response.status_code, read(response.data)) == (200, {b"f": (2, 20, 2, 2)})
    assert 'filename="api-heap-delta.pb.gz"' in response.headers["Content-Disposition"]
    assert read(app.get(f"{path}&delta=0").data) == {b"f": (4, 40, 3, 3)}
    response = app.get(f"{path}&delta=yes")
    assert (response.status_code, response.get_json()["error_code"]) == (400, "invalid_parameter")
    assert app.get(f"{path}&delta=1&limit=1").status_code == 400


@pytest.mark.parametrize("target_option", ["--url", "--storage"])
def test_a_delta_can_be_requested_on_the_command_line(target_option: str, collector: str, tmp_path: Path) -> None:
    target = collector if target_option == "--url" else (tmp_path / "profiles").as_uri()
    for at, value in enumerate((5, 8)):
        (tmp_path / "heap.pb.gz").write_bytes(heap({b"f": (value, value, 1, 1)}, at))
        push = ["push", str(tmp_path / "heap.pb.gz"), "--service", "delta", "--type", "heap"]
        program([str(SCRIPTS / "profbucket"), *push, target_option, target]).check()
    query_options = ["--service", "delta", "--type", "heap", "--from", "0", "--to", "2200000000", "--delta"]
    out = tmp_path / "out"
    program([str(SCRIPTS / "profbucket"), "merge", *query_options, target_option, target, "-o", str(out)]).check()
    assert read(out.read_bytes()) == {b"f": (3, 3, 1, 1)}
    result = program([str(SCRIPTS / "profbucket"), "merge", "--delta", str(out)])
    assert (result.returncode, "--delta" in result.stderr) == (2, True)


def test_an_expired_profile_that_is_in_a_block_is_compared(stored: StoredProfiles) -> None:
    for at, count in ((0, 3), (60, 5), (120, 9)):
        stored.put({b"work": (count, 10 * count, 1, count)}, at)
        stored.put({b"work": (2 * count, count, 1, 1)}, at, "b")
    delta, comment = stored.delta(), stored.comment()
    list(Compactor(stored.storage, clock=lambda: T + 10**6 * SECOND).run())
    for meta in stored.storage.lookup.find(ALWAYS):
        stored.storage.bucket.delete(ProfileId.parse(meta.id).object_key)
    assert stored.storage.index.blocks("api", ProfileType.HEAP, 0, LATEST)
    assert stored.delta() == delta
    assert stored.comment() == comment


def test_a_restart_hidden_behind_a_higher_total_is_found_by_stack(stored: StoredProfiles) -> None:
    stored.put({b"a": (100, 1000, 5, 50)}, 0)
    stored.put({b"b": (300, 3000, 7, 70)}, 60)
    assert stored.delta() == {b"b": (300, 3000, 7, 70)}
    assert ", 1 restarts" in stored.comment()


_COUNTERS = st.dictionaries(
    st.sampled_from([b"a", b"b", b"c"]),
    st.tuples(*[st.integers(0, 50)] * 4).filter(any),
    min_size=1,
)


@given(st.lists(st.tuples(_COUNTERS, st.sampled_from("ab")), min_size=2, max_size=8))
def test_no_delta_has_negative_counters(profiles: list[tuple[Values, str]]) -> None:
    stored = StoredProfiles()
    for at, (values, instance) in enumerate(profiles):
        stored.put(values, at, instance)
    try:
        delta = stored.delta()
    except NotFound:
        return
    assert all(value >= 0 for values in delta.values() for value in values)


def test_the_delta_of_unchanged_counters_is_empty(stored: StoredProfiles) -> None:
    types = (b"contentions", b"delay")
    stored.put({b"a": (3, 30)}, 0, sample_types=types)
    stored.put({b"a": (3, 30)}, 60, sample_types=types)
    assert stored.delta() == {}
