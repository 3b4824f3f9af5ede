"""Totals of profiles over time, per step and group of labels."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.model.labels import Labels
from profbucket.storage.lookup import DataPoint
from profbucket.times import SECOND, format_time

_DEFAULT_STEPS = 200  # at most, if the request has no step
_ROUND_STEPS = (1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
_WEEK_SECONDS = 7 * 86_400
_STEP = re.compile(r"(\d{1,9})([smhdw]?)", re.ASCII)
_UNIT_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": _WEEK_SECONDS}

_GroupKey = tuple[str, ...]  # a value for each label of group_by, "" if a profile does not have the label


def parse_step(text: str) -> int | None:
    """Return the seconds of a step such as ``300`` or ``5m``; ``None`` for an empty text. Raise ``Invalid``."""
    if not text:
        return None
    match = _STEP.fullmatch(text)
    if not match or not int(match[1]):
        raise Invalid(
            f"step={text[:80]!r} is not a number of seconds from 1; write 300, 30s, 5m, 1h or 1d",
            code="invalid_step",
        )
    return int(match[1]) * _UNIT_SECONDS[match[2]]


def build_timeline(
    points: Sequence[DataPoint],
    start: int,
    end: int,
    group_by: Sequence[str] = (),
    step: int | None = None,
    *,
    limits: Limits = Limits(),
) -> dict[str, Any]:
    """Return the sums of *points* per *step* in seconds and per group of labels, as the API has them in JSON.

    There is at least one point, and all are from *start* to *end*. Steps begin at multiples of their length since
    1970 and cover the range; if *start* is 0, they begin with the first point. Each group has one list with a
    number of profiles per step, and for each sample type one with a sum per step. If there are too many groups,
    those with the fewest profiles are combined into one without labels, and ``others`` is their number.

    Raise ``TooMany`` if the range has too many steps, or the result too many numbers.
    """
    first = start or min(point.created_at for point in points)
    step = step or _default_step((end - first) // SECOND)
    step_nanos = step * SECOND
    first_step = first // step_nanos
    count = end // step_nanos - first_step + 1
    if count > limits.steps:
        raise limits.too_many(
            "steps", f"step={step} makes {count} steps; choose a longer step, or a shorter range"
        )
    columns: dict[tuple[str, str], int] = {}  # of sample types
    groups: dict[_GroupKey, _Group] = {}
    group_of_labels: dict[Labels, _Group] = {}
    for created_at, labels, sample_types, values in points:
        group = group_of_labels.get(labels)
        if group is None:
            key = tuple(labels.get(name) or "" for name in group_by)
            group = group_of_labels[labels] = groups.setdefault(key, _Group(key))
        position = created_at // step_nanos - first_step
        group.profiles[position] = group.profiles.get(position, 0) + 1
        for sample_type, value in zip(sample_types, values, strict=True):
            column = columns.setdefault(sample_type, len(columns))
            sums = group.sums.setdefault(column, {})
            sums[position] = sums.get(position, 0) + value
    combined = _combine_smallest([groups[key] for key in sorted(groups)], limits.groups)
    numbers = len(combined) * count * (1 + len(columns))
    if numbers > limits.timeline_numbers:
        raise limits.too_many(
            "timeline_numbers",
            f"{len(combined)} groups, {count} steps and {len(columns)} sample types make {numbers} numbers; choose"
            " a longer step, or group by fewer labels",
        )
    bodies = []
    for group in combined:
        labels_of_group = zip(group_by, group.key, strict=True) if not group.others else ()
        body: dict[str, Any] = {
            "labels": [{"key": key, "value": value} for key, value in labels_of_group],
            "profiles": _to_list(group.profiles, count),
            "values": [_to_list(group.sums.get(column, {}), count) for column in range(len(columns))],
        }
        bodies.append({**body, "others": group.others} if group.others else body)
    return {
        "start": format_time(first_step * step_nanos),
        "step": step,
        "sample_types": [{"type": sample_type, "unit": unit} for sample_type, unit in columns],
        "groups": bodies,
    }


@dataclass(slots=True)
class _Group:
    """The number of profiles per step, and for each column, a sample type, the sums per step.

    Steps without profiles have no item: there may be many more groups than are returned. ``others`` is the number
    of groups that were combined into this one.
    """

    key: _GroupKey
    profiles: dict[int, int] = field(default_factory=dict)
    sums: dict[int, dict[int, int]] = field(default_factory=dict)
    others: int = 0


def _combine_smallest(groups: list[_Group], max_groups: int) -> list[_Group]:
    """Return *groups*, or, if there are too many, the largest of them and one group of all others."""
    if len(groups) <= max_groups:
        return groups
    by_size = sorted(groups, key=lambda group: -sum(group.profiles.values()))
    kept, rest = set(map(id, by_size[: max_groups - 1])), by_size[max_groups - 1 :]
    profiles = _add_up(group.profiles for group in rest)
    columns = {column for group in rest for column in group.sums}
    sums = {column: _add_up(group.sums.get(column, {}) for group in rest) for column in columns}
    return [*(group for group in groups if id(group) in kept), _Group((), profiles, sums, len(rest))]


def _add_up(series: Iterable[Mapping[int, int]]) -> dict[int, int]:
    sums: dict[int, int] = {}
    for values in series:
        for position, value in values.items():
            sums[position] = sums.get(position, 0) + value
    return sums


def _to_list(values: Mapping[int, int], count: int) -> list[int]:
    return [values.get(position, 0) for position in range(count)]


def _default_step(seconds: int) -> int:
    """Return a round step that divides this many *seconds* into at most 200 steps."""
    shortest = -(-(seconds + 1) // (_DEFAULT_STEPS - 1))  # an unaligned range touches one step more
    return next((step for step in _ROUND_STEPS if step >= shortest), -(-shortest // _WEEK_SECONDS) * _WEEK_SECONDS)
