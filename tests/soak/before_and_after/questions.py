"""Questions about a storage, and their answers without what has no meaning."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import Any

from profbucket.errors import ProfbucketError
from profbucket.limits import Limits
from profbucket.model.ids import ProfileId
from profbucket.model.merge_options import MergeOptions
from profbucket.model.meta import Query
from profbucket.model.sample_kinds import Aggregate
from profbucket.query.flamegraph import build_flame_graph
from profbucket.query.querier import Querier
from profbucket.storage.ports import Series, SeriesSelection
from profbucket.times import LATEST
from tests.soak.before_and_after.histories import CPU, HEAP, HOUR, SERVICE, WALL, History
from tests.support.canonical import canonicalize

_DELTA = MergeOptions(aggregate=Aggregate.DELTA)

Question = tuple[str, Callable[[Querier], object]]  # with a name


def normalize_pprof(data: bytes) -> object:
    """Return the content of a merge without the order of sample types and of comments, and without zeros.

    The comment about sample types that are left out counts objects, so it is cut off.
    """
    content = canonicalize(data)
    header = content.header
    order = sorted(range(len(header.sample_types)), key=lambda column: header.sample_types[column])
    comments = sorted(comment.partition(b"; left out: ")[0] for comment in header.comments)
    samples = {
        key: tuple(_wrap(values[column]) for column in order)
        for key, values in content.samples.items()
        if any(map(_wrap, values))
    }
    normalized = replace(
        header, sample_types=tuple(header.sample_types[column] for column in order), comments=tuple(comments)
    )
    return normalized, samples


def _wrap(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63


def normalize_timeline(timeline: dict[str, Any]) -> dict[str, Any]:
    """Return *timeline* with its sample types sorted."""
    names = [(each["type"], each["unit"]) for each in timeline["sample_types"]]
    order = sorted(range(len(names)), key=names.__getitem__)
    groups = [{**group, "values": [group["values"][column] for column in order]} for group in timeline["groups"]]
    return {**timeline, "sample_types": [names[column] for column in order], "groups": groups}


def normalize_flame_graph(graph: dict[str, Any]) -> object:
    """Return the nodes of *graph* by path, its functions and its sample types, all without an order."""
    functions, nodes = graph["functions"], graph["nodes"]
    names = [*zip(functions["name"], functions["file"], functions["line"], strict=True), ("root",)]
    paths: list[tuple[object, ...]] = []
    for parent, function in zip(nodes["parent"], nodes["function"], strict=True):
        paths.append((*(paths[parent] if paths else ()), names[function]))
    values = sorted(zip(paths, *nodes["values"], strict=True), key=repr)
    costs = sorted(zip(names, *functions["flat"], *functions["cum"], strict=False), key=repr)
    return graph["sample_type"], sorted(map(str, graph["sample_types"])), graph["totals"], values, costs


def normalize_series(all_series: Iterable[Series]) -> object:
    """Return *all_series* without an order, nor of their sample types: a reindex reads blocks first.

    It may add the hours of profiles instead of their times.
    """
    return [
        series._replace(
            sample_types=tuple(sorted(series.sample_types, key=str)),
            first_seen=series.first_seen // HOUR * HOUR,
            last_seen=min(series.last_seen // HOUR * HOUR + HOUR - 1, LATEST),
        )
        for series in sorted(all_series, key=lambda series: series.id)
    ]


def list_questions(history: History, ids: Sequence[ProfileId]) -> Iterator[Question]:
    """Yield every question about a storage with the profiles *ids*: a name and a function that asks it."""
    yield "services", lambda querier: querier.services()
    yield (
        "series",
        lambda querier: normalize_series(querier.series(SeriesSelection(SERVICE), lambda _: True)),
    )
    yield "labels", lambda querier: querier.label_values([SERVICE], None).to_json()
    yield "find any", lambda querier: querier.find(Query(SERVICE, None, 0, LATEST))
    for query in history.queries:
        yield f"find {query}", partial(lambda query, querier: querier.find(query), query)
        yield (
            f"merge {query}",
            partial(lambda query, querier: normalize_pprof(querier.merge(query).data), query),
        )
        if query.limit:
            continue
        yield (
            f"timeline {query}",
            partial(
                lambda query, querier: normalize_timeline(querier.timeline(query, ["v"], 7 * 86400 * 30)), query
            ),
        )
        if query.type == HEAP:
            yield (
                f"delta {query}",
                partial(lambda query, querier: normalize_pprof(querier.merge(query, _DELTA).data), query),
            )
    full = history.queries[0]
    name = {CPU: "cpu", HEAP: "inuse_space", WALL: "wall"}[full.type or CPU]
    yield (
        f"sample type {full}",
        lambda querier: normalize_pprof(querier.merge(full, MergeOptions(name)).data),
    )
    yield (
        f"flame {full}",
        lambda querier: normalize_flame_graph(build_flame_graph(querier, [full], Limits(), MergeOptions(name))),
    )
    for profile_id in ids[:3]:
        yield (
            f"id {profile_id}",
            partial(lambda one, querier: normalize_pprof(querier.merge_ids([one]).data), profile_id),
        )
    alike = [profile_id for profile_id in ids if profile_id.type == ids[0].type] if ids else []
    if len(alike) > 1:
        yield "ids", lambda querier: normalize_pprof(querier.merge_ids(alike).data)


def describe_difference(actual: object, expected: object) -> str:
    """Return the innermost items in which two answers differ."""
    if isinstance(actual, dict) and isinstance(expected, dict) and actual.keys() == expected.keys():
        pairs = [(str(key), actual[key], expected[key]) for key in actual]
    elif isinstance(actual, list | tuple) and isinstance(expected, list | tuple) and len(actual) == len(expected):
        pairs = [(str(i), *pair) for i, pair in enumerate(zip(actual, expected, strict=True))]
    elif is_dataclass(actual) and is_dataclass(expected):
        return describe_difference(vars_of(actual), vars_of(expected))
    else:
        return f"{actual!r} instead of {expected!r}"
    return "; ".join(f"{key[:80]}: {describe_difference(*pair)}" for key, *pair in pairs if pair[0] != pair[1])


def vars_of(item: Any) -> dict[str, object]:
    """Return the fields of a dataclass by name."""
    return {field.name: getattr(item, field.name) for field in fields(item)}


def ask(question: Callable[[Querier], object], querier: Querier) -> object:
    """Return the answer to *question*, or the code of its error."""
    try:
        return question(querier)
    except ProfbucketError as error:
        return error.code
