"""How much, when: the totals of profiles, added up in steps of time."""

from collections.abc import Iterable, Sequence
from typing import Any

from profbucket.errors import Invalid
from profbucket.meta import Meta
from profbucket.times import SECOND, format_time

_MOST = 5000  # steps
_STEPS = 200  # at most, where none is asked for
_NICE = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)


def default_step(start: int, end: int) -> int:
    """Seconds of a step with which the range has no more than 200 of them."""
    least = (end - start) // SECOND // _STEPS + 1
    return next((step for step in _NICE if step >= least), -(-least // 86400) * 86400)


def timeline(
    metas: Iterable[Meta], start: int, end: int, step: int, group_by: Sequence[str] = ()
) -> dict[str, Any]:
    """The sums of the totals of *metas* in each *step* (seconds) from *start* to *end*, as the API gives them.

    Groups are by the values of the labels *group_by*. Profiles that do not have a sample type add nothing to it.
    """
    first = start // SECOND // step
    count = end // SECOND // step - first + 1
    if count > _MOST:
        raise Invalid(f"step={step} makes {count} steps of this range, the most is {_MOST}; make it larger")
    kinds: dict[tuple[str, str], int] = {}
    groups: dict[tuple[str, ...], tuple[list[int], dict[int, list[int]]]] = {}
    for meta in metas:
        group = tuple(meta.labels.get(name) for name in group_by)
        profiles, values = groups.setdefault(group, ([0] * count, {}))
        at = meta.created_at // SECOND // step - first
        profiles[at] += 1
        for total in meta.totals:
            kind = kinds.setdefault((total.type, total.unit), len(kinds))
            values.setdefault(kind, [0] * count)[at] += total.value
    return {
        "start": format_time(first * step * SECOND),
        "step": step,
        "sample_types": [{"type": kind, "unit": unit} for kind, unit in kinds],
        "groups": [
            {
                "labels": [{"key": k, "value": v} for k, v in zip(group_by, group, strict=True)],
                "profiles": profiles,
                "values": [values.get(number) or [0] * count for number in range(len(kinds))],
            }
            for group, (profiles, values) in sorted(groups.items(), key=lambda item: item[0])
        ],
    }
