"""``aggregate=``: averages, latest profiles and increases, of each sample type in its own way."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.errors import Invalid, NotFound
from profbucket.maintenance.compactor import Compactor
from profbucket.model.ids import ProfileId
from profbucket.model.labels import Labels, parse_matchers
from profbucket.model.merge_options import MergeOptions
from profbucket.model.meta import Query
from profbucket.model.profile_type import ProfileType
from profbucket.model.sample_kinds import Aggregate, Kind, find_kind, parse_kind_rules
from profbucket.pprof import decode, encode
from profbucket.pprof.aggregate.weighted_sum import divide_and_round
from profbucket.times import LATEST, SECOND
from tests.query.test_delta import ALWAYS, StoredProfiles, T, Values, heap, read
from tests.support.property_tests import examples

GAUGES = (b"inuse_space",)
AUTO = MergeOptions(aggregate=Aggregate.AUTO)


def ask(stored: StoredProfiles, aggregate: str, query: Query = ALWAYS) -> Values:
    return read(stored.querier.merge(query, MergeOptions(aggregate=Aggregate(aggregate))).data)


def comments(stored: StoredProfiles, options: MergeOptions = AUTO, query: Query = ALWAYS) -> list[str]:
    message = decode(stored.querier.merge(query, options).data).message
    return [message.string_table[comment].decode() for comment in message.comment]


def compact(stored: StoredProfiles, until: int = 10**6) -> None:
    list(Compactor(stored.storage, clock=lambda: T + until * SECOND).run())


@pytest.fixture
def stored() -> StoredProfiles:
    return StoredProfiles()


def test_the_average_is_that_of_each_series_added_up(stored: StoredProfiles) -> None:
    for at, value in enumerate((10, 20, 60)):
        stored.put({b"f": (value,)}, at, "a", GAUGES)
    stored.put({b"f": (7,), b"g": (4,)}, 5, "b", GAUGES)
    assert ask(stored, "average") == {b"f": (37,), b"g": (4,)}
    assert comments(stored) == [
        "service=api type=heap merged 4 profiles in 2 series from 2027-01-15T08:00:00Z to 2027-01-15T08:00:05Z",
        "inuse_space: average of 4 profiles in 2 series, added up",
    ]


def test_a_stack_counts_as_zero_in_the_profiles_that_lack_it(stored: StoredProfiles) -> None:
    stored.put({b"f": (10,)}, 0, sample_types=GAUGES)
    stored.put({b"g": (10,)}, 1, sample_types=GAUGES)
    assert ask(stored, "average") == {b"f": (5,), b"g": (5,)}


def test_values_are_rounded_once_half_to_even(stored: StoredProfiles) -> None:
    """In two series the averages 0.5 and 0.5, and 1.5 and 1: their sums are 1 and 2.5."""
    for instance, first, second in (("a", (1, 3), (0, 0)), ("b", (0, 1), (1, 1))):
        stored.put({b"f": (first[0],), b"g": (first[1],)}, 0, instance, GAUGES)
        stored.put({b"f": (second[0],), b"g": (second[1],)}, 1, instance, GAUGES)
    assert ask(stored, "average") == {b"f": (1,), b"g": (2,)}


@given(
    st.dictionaries(
        st.integers(1, 2**40) | st.integers(1, 9), st.integers(-(2**50), 2**50), min_size=1, max_size=9
    )
)
def test_division_is_exact_for_any_denominators(sums: dict[int, int]) -> None:
    import numpy as np

    expected = round(sum(Fraction(value, denominator) for denominator, value in sums.items()))
    arrays = {denominator: np.array([[value]], np.int64) for denominator, value in sums.items()}
    assert divide_and_round(arrays, (1, 1)).tolist() == [[expected]]


def test_the_latest_profiles_of_all_series_are_added_up(stored: StoredProfiles) -> None:
    for at, value in enumerate((10, 20, 60)):
        stored.put({b"f": (value,)}, at, "a", GAUGES)
    stored.put({b"g": (4,)}, 1, "b", GAUGES)
    assert ask(stored, "latest") == {b"f": (60,), b"g": (4,)}


def test_auto_treats_each_sample_type_by_its_kind(stored: StoredProfiles) -> None:
    for minute in range(52):
        stored.put({b"f": (100 + minute, 1000 + 10 * minute, 7, 50_000_000 + (-1) ** minute)}, 60 * minute)
    assert ask(stored, "auto") == {b"f": (51, 510, 7, 50_000_000)}
    assert comments(stored)[1:] == [
        "alloc_objects: increase over 51 min",
        "alloc_space: increase over 51 min",
        "inuse_objects: average of 52 profiles",
        "inuse_space: average of 52 profiles",
    ]
    assert stored.querier.merge(ALWAYS, AUTO).meanings["inuse_space"] == "average of 52 profiles"


def test_auto_adds_up_what_is_a_sum(stored: StoredProfiles) -> None:
    for at in range(3):
        stored.put({b"f": (10,)}, at, sample_types=(b"cpu",))
    assert ask(stored, "auto") == {b"f": (30,)}
    result = stored.querier.merge(ALWAYS, AUTO)
    assert (result.merged, result.meanings) == (3, {"cpu": "sum of 3 profiles"})


def test_auto_does_not_add_up_a_sample_type_that_the_series_has_no_room_for(
    stored: StoredProfiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("profbucket.model.series.MAX_SAMPLE_TYPES", 1)
    for at, value in enumerate((10, 20)):
        stored.put({b"f": (1, value)}, at, sample_types=(b"cpu", b"inuse_space"))
    assert ask(stored, "auto") == {b"f": (2, 15)}


def test_auto_of_a_single_profile_of_counters_has_no_increase(stored: StoredProfiles) -> None:
    stored.put({b"f": (10, 100, 1, 5)}, 0)
    assert ask(stored, "auto") == {b"f": (0, 0, 1, 5)}
    other = StoredProfiles()
    other.put({b"f": (1, 1)}, 0, sample_types=(b"contentions", b"delay"))
    with pytest.raises(NotFound) as error:
        ask(other, "auto")
    assert error.value.code == "nothing_to_compare"


def test_a_setting_decides_about_a_sample_type(stored: StoredProfiles) -> None:
    from profbucket.limits import Limits

    for at in range(4):
        stored.put({b"f": (10,)}, at, sample_types=(b"queue_length",))
    assert ask(stored, "auto") == {b"f": (40,)}
    stored.limits = Limits(sample_kinds=parse_kind_rules("*/queue_*=instant"))
    assert ask(stored, "auto") == {b"f": (10,)}


def test_one_sample_type_of_profiles_that_lack_it(stored: StoredProfiles) -> None:
    stored.put({b"f": (10,)}, 0, sample_types=GAUGES)
    stored.put({b"f": (1,)}, 1, sample_types=(b"other",))
    stored.put({b"f": (30,)}, 2, sample_types=GAUGES)
    only = MergeOptions("inuse_space", aggregate=Aggregate.AVERAGE)
    assert read(stored.querier.merge(ALWAYS, only).data) == {b"f": (20,)}
    with pytest.raises(Invalid) as error:
        stored.querier.merge(ALWAYS, MergeOptions("missing", aggregate=Aggregate.AUTO))
    assert error.value.code == "unknown_sample_type"


@pytest.mark.parametrize("compacted", [False, True])
def test_several_services_are_added_up_and_can_be_told_apart(stored: StoredProfiles, compacted: bool) -> None:
    for service, factor in (("api", 1), ("web", 10)):
        for at in range(2):
            data = heap({b"f": (factor * (at + 1), 0, 0, factor * 2 * at)}, at)
            stored.collector.collect(service, ProfileType.HEAP, Labels(), data)
    if compacted:
        compact(stored)
    query = Query("~.*", ProfileType.HEAP, 0, LATEST, services=("api", "web"))
    assert ask(stored, "auto", query) == {b"f": (11, 0, 0, 11)}
    assert comments(stored, AUTO, query)[0].startswith(
        "service=~.* type=heap merged 4 profiles of 2 services in 2 series from"
    )
    options = MergeOptions(service_label=True, aggregate=Aggregate.AUTO)
    message = decode(stored.querier.merge(query, options).data).message
    texts = [message.string_table[sample.label[0].str] for sample in message.sample]
    assert {text: list(sample.value) for text, sample in zip(texts, message.sample, strict=True)} == {
        b"api": [1, 0, 0, 1],
        b"web": [10, 0, 0, 10],
    }


@pytest.mark.parametrize("aggregate", ["delta", "latest", "average"])
def test_the_header_is_the_same_wherever_profiles_are(stored: StoredProfiles, aggregate: str) -> None:
    """Also if the first profile is of another series, and later ones have another order of sample types."""
    names = (b"inuse_space", b"alloc_space")
    for at in (0, 9500):
        stored.put({b"f": (at + 1, at + 1)}, at, "a", names)
    for at in (10, 5000, 9000):
        stored.put({b"f": (at, at)}, at, "b", names[::-1])
    options = MergeOptions(aggregate=Aggregate(aggregate))
    messages = []
    for until in (0, 7200, 10**6):
        compact(stored, until)
        messages.append(decode(stored.querier.merge(ALWAYS, options).data).message)
    assert {message.time_nanos for message in messages} == {T}
    assert {
        tuple(message.string_table[sample_type.type] for sample_type in message.sample_type)
        for message in messages
    } == {names}


def test_the_period_of_an_increase_is_that_of_the_profiles_compared(stored: StoredProfiles) -> None:
    """The only profile of another series, in the same block, has a longer period."""
    for at, instance, period in ((0, "a", 10), (20, "a", 30), (10, "b", 50)):
        message = decode(heap({b"f": (at + 1,)}, at, (b"alloc_space",))).message
        message.period = period
        stored.collector.collect(
            "api", ProfileType.HEAP, Labels.from_pairs([("instance", instance)]), encode(message)
        )
    options = MergeOptions(aggregate=Aggregate.DELTA)
    before = decode(stored.querier.merge(ALWAYS, options).data).message.period
    compact(stored)
    after = decode(stored.querier.merge(ALWAYS, options).data).message.period
    assert (before, after) == (30, 30)


def test_the_comments_of_profiles_are_left_out(stored: StoredProfiles) -> None:
    # Which of them are read depends on what has been compacted.
    for at in (0, 10, 20):
        message = decode(heap({b"f": (at, at)}, at, (b"alloc_space", b"inuse_space"))).message
        message.comment.append(len(message.string_table))
        message.string_table.append(b"of %d" % at)
        stored.collector.collect("api", ProfileType.HEAP, Labels(), encode(message))
    before = comments(stored)
    compact(stored)
    assert before == comments(stored)
    assert not any(comment.startswith("of ") for comment in before)


def test_profiles_that_have_expired_are_not_in_the_average(stored: StoredProfiles) -> None:
    ids = [stored.put({b"f": (value,)}, value, sample_types=GAUGES) for value in (10, 20, 60)]
    stored.storage.bucket.delete(ProfileId.parse(ids[2]).object_key)
    assert ask(stored, "average") == {b"f": (15,)}
    result = stored.querier.merge(ALWAYS, AUTO)
    assert (result.found, result.merged, result.expired) == (3, 2, 1)
    assert comments(stored)[0].endswith(", 1 had expired")
    for profile_id in ids[:2]:
        stored.storage.bucket.delete(ProfileId.parse(profile_id).object_key)
    with pytest.raises(NotFound, match="all 3 profiles have expired"):
        ask(stored, "average")


# Timelines


def timeline(stored: StoredProfiles, aggregate: str, step: int = 3600, **options: Any) -> dict[str, list[int]]:
    """Return the values of each sample type of the only group, by step."""
    query = Query("api", None, T, T + 7199 * SECOND)
    body = stored.querier.timeline(query, step=step, aggregate=Aggregate(aggregate), **options)
    [group] = body["groups"]
    return {item["type"]: values for item, values in zip(body["sample_types"], group["values"], strict=True)}


def test_a_timeline_averages_each_series_in_each_step(stored: StoredProfiles) -> None:
    for at, instance, value in ((0, "a", 10), (60, "a", 21), (60, "b", 4), (3600, "a", 7)):
        stored.put({b"f": (value,)}, at, instance, GAUGES)
    assert timeline(stored, "average") == {"inuse_space": [20, 7]}  # 15.5 + 4, half to even
    assert timeline(stored, "latest") == {"inuse_space": [25, 7]}
    assert timeline(stored, "sum") == {"inuse_space": [35, 7]}


def test_a_timeline_has_increases_in_the_step_of_the_later_profile(stored: StoredProfiles) -> None:
    for at, value in ((0, 100), (60, 103), (3590, 110), (3600, 115), (3700, 2), (3800, 9)):
        stored.put({b"f": (value, 0, 1, value)}, at)
    assert timeline(stored, "delta")["alloc_objects"] == [10, 5 + 9]
    assert timeline(stored, "auto") == {
        "alloc_objects": [10, 14],
        "alloc_space": [0, 0],
        "inuse_objects": [1, 1],
        "inuse_space": [104, 42],
    }
    body = stored.querier.timeline(ALWAYS, aggregate=Aggregate.AUTO)
    assert body["aggregates"] == ["increase", "increase", "average", "average"]


def test_a_timeline_tells_interleaved_processes_apart(stored: StoredProfiles) -> None:
    for at, value in enumerate((100, 5, 110, 6)):
        stored.put({b"f": (value, 0, 0, 0)}, at)
    assert timeline(stored, "delta")["alloc_objects"] == [11, 0]


@examples(10)
@given(
    st.lists(st.tuples(st.integers(0, 99), st.sampled_from("ab"), st.integers(0, 7000)), min_size=1, max_size=9)
)
def test_timelines_are_equal_wherever_profiles_are(profiles: Sequence[tuple[int, str, int]]) -> None:
    stored = StoredProfiles()
    for value, instance, at in profiles:
        stored.put({b"f": (value, 1, 1, value)}, at, instance)
    answers = []
    for until in (0, 3600 + 700, 10**6):
        compact(stored, until)
        answers.append([timeline(stored, aggregate, 600) for aggregate in Aggregate])
    assert answers[0] == answers[1] == answers[2]


# Processes


def test_two_interleaved_processes_are_no_restarts(stored: StoredProfiles) -> None:
    """Increases of 10 and 1, where each fall as a restart would make 116."""
    for at, value in enumerate((100, 5, 110, 6)):
        stored.put({b"f": (value, 0, 0, 0)}, at)
    assert ask(stored, "delta") == {b"f": (11, 0, 0, 0)}
    assert ", 2 processes with equal labels, told apart by their counters" in comments(stored)[0]


def test_a_restart_among_interleaved_processes(stored: StoredProfiles) -> None:
    for at, value in enumerate((100, 10, 110, 12, 1, 14, 5, 17)):  # that of 100 restarts with 1
        stored.put({b"f": (value, 0, 0, 0)}, at)
    assert ask(stored, "delta") == {b"f": (10 + 7 + 5, 0, 0, 0)}


def test_processes_are_told_apart_by_stack(stored: StoredProfiles) -> None:
    """The totals of two processes rise from profile to profile, but they have other stacks."""
    for at in range(6):
        stored.put({(b"a", b"b")[at % 2]: (10 + at, 0, 0, 0)}, at)
    assert ask(stored, "delta") == {b"a": (4, 0, 0, 0), b"b": (4, 0, 0, 0)}


_INCREASES = st.lists(st.integers(0, 9), min_size=2, max_size=6)


@examples(20)
@given(st.lists(_INCREASES, min_size=2, max_size=4), st.booleans())
def test_the_delta_is_the_truth_where_counters_tell_processes_apart(
    runs: list[list[int]], compacted: bool
) -> None:
    """Processes with equal labels run at the same time; each has a stack of its own and a common one."""
    stored = StoredProfiles()
    at, expected = 0, 0
    for step in range(max(map(len, runs))):
        for number, increases in enumerate(runs):
            if step < len(increases):
                count = sum(increases[: step + 1])
                stored.put({b"own%d" % number: (1 + count, 0, 0, 0), b"common": (count, 0, 0, 0)}, at)
                expected += 2 * increases[step] if step else 0
                at += 60
    if compacted:
        compact(stored)
    values = stored.delta()
    assert sum(value[0] for value in values.values()) == expected


_COUNTERS = st.dictionaries(
    st.sampled_from([b"a", b"b", b"c"]), st.tuples(*[st.integers(0, 50)] * 4).filter(any), min_size=1
)


@examples(8)
@given(
    st.lists(st.tuples(_COUNTERS, st.sampled_from("ab"), st.integers(0, 9000)), min_size=2, max_size=9),
    st.integers(1, 3),
)
def test_results_are_equal_wherever_profiles_are(profiles: Sequence[tuple[Values, str, int]], hours: int) -> None:
    """In heads, in blocks and in both; no increase is negative."""
    stored = StoredProfiles()
    queries = [
        ALWAYS,
        Query("api", ProfileType.HEAP, 0, LATEST, parse_matchers("instance=a")),
        Query("api", ProfileType.HEAP, (T + 1000 * SECOND), (T + 8000 * SECOND)),
    ]
    for values, instance, at in profiles:
        stored.put(values, at, instance)
    results = []
    for until in (0, hours * 3600 + 700, 10**6):
        compact(stored, until)
        answers: list[object] = []
        for query in queries:
            for aggregate in ("average", "latest", "delta", "auto"):
                try:
                    answers.append((ask(stored, aggregate, query), stored.querier.merge(query, AUTO).meanings))
                except NotFound as error:
                    answers.append(error.code)
        results.append(answers)
    assert results[0] == results[1] == results[2]
    for answer in results[0]:
        if isinstance(answer, tuple):
            assert all(value >= 0 for values in answer[0].values() for value in values)


# Kinds


@pytest.mark.parametrize(
    ("profile_type", "sample_type", "kind"),
    [
        ("cpu", "cpu", Kind.SUM),
        ("wall", "samples", Kind.SUM),
        ("heap", "inuse_space", Kind.INSTANT),
        ("heap", "alloc_space", Kind.CUMULATIVE),
        ("heap", "heap-space", Kind.INSTANT),
        ("alloc", "alloc_space", Kind.SUM),
        ("mutex", "contentions", Kind.CUMULATIVE),
        ("block", "delay", Kind.CUMULATIVE),
        ("mutex", "mutex_count", Kind.SUM),
        ("goroutine", "goroutines", Kind.INSTANT),
        ("threadcreate", "threadcreate", Kind.INSTANT),
        ("exceptions", "exception", Kind.SUM),
    ],
)
def test_kinds_of_known_sample_types(profile_type: str, sample_type: str, kind: Kind) -> None:
    assert find_kind((), profile_type, sample_type, "count") is kind


def test_a_setting_precedes_the_agent_and_the_agent_the_table() -> None:
    assert find_kind((), "mutex", "delay", "nanoseconds", Kind.SUM) is Kind.SUM
    rules = parse_kind_rules("mutex/delay/nanoseconds=instant, */d*=cumulative")
    assert find_kind(rules, "mutex", "delay", "nanoseconds", Kind.SUM) is Kind.INSTANT
    assert find_kind(rules, "block", "delay", "nanoseconds", Kind.SUM) is Kind.CUMULATIVE


@pytest.mark.parametrize(
    "text", ["x", "a/b", "a/b=c", "a=sum", "/b=sum", "a/=sum", "a/b/c/d=sum", ",".join(["a/b=sum"] * 101)]
)
def test_malformed_kinds_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_kind_rules(text)
