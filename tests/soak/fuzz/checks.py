"""Checks of answers: the same before and after a change, or right about what damage has left."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.soak.fuzz.questions import route_of
from tests.soak.http import Answer
from tests.soak.numbered import numbers_in
from tests.support.canonical import canonicalize

_Paths = dict[tuple[int, str], int]  # the number of a path by the number of its parent and its last function


@dataclass(frozen=True, slots=True)
class Finding:
    """A claim that does not hold. Findings with one *signature* have one cause."""

    signature: str
    step: str
    detail: str


def check_same(before: Mapping[str, Answer], after: Mapping[str, Answer], cause: str) -> Iterator[Finding]:
    """Check that nothing that was answered *before* is answered differently after *cause*."""
    for name, first in before.items():
        second, route = after[name], route_of(name)
        step = f"comparing {name} before and after {cause}"
        if first.status == 200 and second.status != 200:
            yield Finding(f"{route}: {second.status} {second.error_code} after {cause}", step, f"{second}")
        elif first.status == 200 and (difference := _find_difference(route, first, second)):
            yield Finding(f"{route}: differs after {cause}", step, difference)


def check_damaged(
    before: Mapping[str, Answer], after: Mapping[str, Answer], intact: set[int] | None, stage: str
) -> Iterator[Finding]:
    """Check that answers over damaged objects are errors that say so, or right about what is left.

    The numbers of profiles in merges are checked if those that are *intact* are given.
    """
    for name, first in before.items():
        second, route = after[name], route_of(name)
        step = f"{name} {stage}"
        if first.status != 200:
            continue
        if second.status not in (200, 404, 500, 503):
            yield Finding(f"{route}: {second.status} {second.error_code} over damage", step, f"{second}")
        # A profile without an object is rebuilt from its block: other bytes, but the same content.
        if route == "get" and second.status == 200 and (difference := _find_difference("merge", first, second)):
            yield Finding("get: other content than was posted", step, difference)
        if route == "merge" and second.status == 200 and intact is not None:
            try:
                numbers, all_numbers = numbers_in(second.body), numbers_in(first.body)
            except Exception as error:  # noqa: BLE001 - damage that is passed on has any form
                detail = f"{type(error).__name__}: {error}"[:2000]
                yield Finding("merge: wrong values over damage", step, detail)
                continue
            if "limit" in name:  # picks others where some are gone
                continue
            if not all_numbers & intact <= numbers <= all_numbers:
                detail = f"{sorted(numbers)} of {sorted(all_numbers)}; intact are {sorted(intact)}"
                yield Finding("merge: lacks intact profiles, or has others", step, detail)


def _find_difference(route: str, first: Answer, second: Answer) -> str:
    """Return in what two answers differ by what they mean; empty if in nothing."""
    if first.body == second.body:
        return ""
    if route in ("merge", "refined", "delta", "ids"):
        return _find_difference_of_profiles(first.body, second.body)
    if route == "get":
        return f"{len(first.body)} and {len(second.body)} bytes"
    paths: _Paths = {}
    one, other = (_read_document(route, answer, paths) for answer in (first, second))
    return "" if one == other else f"{one}"[:1500] + "\nand\n" + f"{other}"[:1500]


def _find_difference_of_profiles(first: bytes, second: bytes) -> str:
    try:
        one, other = (canonicalize(data) for data in (first, second))
    except Exception as error:  # noqa: BLE001 - larger than what may be posted, or damaged
        return f"{type(error).__name__}: {error}"
    one, other = (replace(it, header=replace(it.header, comments=())) for it in (one, other))
    if one == other:
        return ""
    samples = one.samples.keys() ^ other.samples.keys()
    values = [key for key in one.samples.keys() & other.samples.keys() if one.samples[key] != other.samples[key]]
    return (
        f"headers {one.header} and {other.header}; {len(samples)} samples in one only, {len(values)} with"
        f" other values, as {[(one.samples[key], other.samples[key]) for key in values[:3]]}"
    )


def _read_document(route: str, answer: Answer, paths: _Paths) -> Any:
    """Return the JSON of *answer*, without what has no meaning; *paths* are those of the other answer, too."""
    document = json.loads(gzip.decompress(answer.body) if answer.body[:2] == b"\x1f\x8b" else answer.body)
    if route != "flame":
        return document
    body = document["body"]
    functions, nodes = body.pop("functions"), body.pop("nodes")
    numbers = [0]
    for parent, function in list(zip(nodes["parent"], nodes["function"], strict=True))[1:]:
        name = functions["name"][function] if function >= 0 else "other"
        numbers.append(paths.setdefault((numbers[parent], name), len(paths) + 1))
    if functions["count"] == len(functions["name"]) and -1 not in nodes["function"][1:]:  # what is folded may tie
        tree = Counter[tuple[int, int]]()  # one name may have several files
        for side, values in enumerate(nodes["values"]):
            for path, value in zip(numbers, values, strict=True):
                tree[side, path] += value
        body["tree"] = tree
    return document
