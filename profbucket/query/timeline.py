"""How much profiles measured, and when: their totals added up per step of time, for each group of labels."""

import re
from collections.abc import Sequence
from typing import Any

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.model.labels import Labels
from profbucket.storage.lookup import Point
from profbucket.times import SECOND, format_time

_STEPS = 200  # in an answer that was asked for no step, at most
_NICE = (1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
_WEEK = 7 * 86_400
_STEP = re.compile(r"(\d{1,9})([smhdw]?)", re.ASCII)
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": _WEEK}

Group = tuple[str, ...]  # a value for each label that groups, "" where there is none


def parse_step(text: str) -> int | None:
    """Seconds, or with a unit as in ``5m``; ``None`` for an empty text. Raise ``Invalid`` for another."""
    if not text:
        return None
    match = _STEP.fullmatch(text)
    if not match or not int(match[1]):
        raise Invalid(f"step={text[:80]!r}: it is a number of seconds from 1, or as in 30s, 5m, 1h, 1d")
    return int(match[1]) * _UNITS[match[2]]


def timeline(
    points: Sequence[Point],
    start: int,
    end: int,
    group_by: Sequence[str] = (),
    step: int | None = None,
    *,
    limits: Limits = Limits(),
) -> dict[str, Any]:
    """Add *points*, at least one, all from *start* to *end*, up per *step* in seconds and per group of labels.

    Steps begin at multiples of their length since 1970 and cover the range; one from 0 on begins with the first
    point. A group has a value for each of the labels, "" where there is none, and lists as long as there are
    steps: how many profiles, and for each sample type the sum. Of too many groups, those with the fewest profiles
    are one: it has no labels, and ``others`` says how many. Raise ``TooMany`` for steps over a cap.
    """
    first = start or min(point.created_at for point in points)
    step = step or _nice((end - first) // SECOND)
    width = step * SECOND
    begin = first // width
    count = end // width - begin + 1
    if count > limits.steps:
        raise limits.too_many("steps", f"step={step} makes {count} steps; ask for longer ones, or a shorter range")
    names: dict[tuple[str, str], int] = {}
    profiles: dict[Group, list[int]] = {}
    sums: dict[Group, dict[int, list[int]]] = {}
    groups: dict[Labels, Group] = {}
    for created_at, labels, measured, values in points:
        group = groups.get(labels)
        if group is None:
            group = groups[labels] = tuple(labels.get(name) or "" for name in group_by)
            if group not in profiles:
                profiles[group], sums[group] = [0] * count, {}
        at = created_at // width - begin
        profiles[group][at] += 1
        for name, value in zip(measured, values, strict=True):
            kind = names.setdefault(name, len(names))
            column = sums[group].get(kind)
            if column is None:
                column = sums[group][kind] = [0] * count
            column[at] += value
    empty = [0] * count
    shown = [
        _Shown(group, profiles[group], [sums[group].get(kind, empty) for kind in range(len(names))])
        for group in sorted(profiles)
    ]
    return {
        "start": format_time(begin * width),
        "step": step,
        "sample_types": [{"type": kind, "unit": unit} for kind, unit in names],
        "groups": [one.body(group_by) for one in _largest(shown, limits.groups)],
    }


class _Shown:
    def __init__(self, group: Group, profiles: list[int], values: list[list[int]], others: int = 0) -> None:
        self.group, self.profiles, self.values, self.others = group, profiles, values, others

    def body(self, group_by: Sequence[str]) -> dict[str, Any]:
        pairs = zip(group_by, self.group, strict=True) if not self.others else ()
        labels = [{"key": key, "value": value} for key, value in pairs]
        body = {"labels": labels, "profiles": self.profiles, "values": self.values}
        return {**body, "others": self.others} if self.others else body


def _largest(shown: list[_Shown], most: int) -> list[_Shown]:
    if len(shown) <= most:
        return shown
    by_size = sorted(shown, key=lambda one: -sum(one.profiles))
    kept, rest = set(map(id, by_size[: most - 1])), by_size[most - 1 :]
    profiles = list(map(sum, zip(*(one.profiles for one in rest), strict=True)))
    columns = zip(*(one.values for one in rest), strict=True)
    values = [list(map(sum, zip(*column, strict=True))) for column in columns]
    return [*(one for one in shown if id(one) in kept), _Shown((), profiles, values, len(rest))]


def _nice(seconds: int) -> int:
    """A step that divides so many *seconds* into few enough."""
    least = -(-(seconds + 1) // (_STEPS - 1))  # an unaligned range touches one more
    return next((step for step in _NICE if step >= least), -(-least // _WEEK) * _WEEK)
