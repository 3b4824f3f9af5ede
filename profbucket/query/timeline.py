"""Totals of profiles over time, per step and group of labels."""

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from operator import itemgetter
from statistics import median
from typing import Any

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.model.labels import Labels
from profbucket.model.meta import SampleType
from profbucket.model.profile_type import ProfileType
from profbucket.model.sample_kinds import Aggregate, Kind, choose_aggregate, find_kind
from profbucket.pprof.numbers import wrap_int64
from profbucket.query.step_values import StepValues, too_many_values
from profbucket.storage.totals import Totals
from profbucket.times import DAY_SECONDS, SECOND, format_time

_DEFAULT_STEPS = 200  # at most, if the request has no step
_ROUND_STEPS = (1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, DAY_SECONDS)
_WEEK_SECONDS = 7 * DAY_SECONDS
_SAMPLED_CHUNKS, _SAMPLED_ROWS = 50, 200  # that the time between profiles is estimated from
_STEP = re.compile(r"(\d{1,9})([smhdw]?)", re.ASCII)
_UNIT_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": DAY_SECONDS, "w": _WEEK_SECONDS}

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
    totals: Iterable[Totals],
    start: int,
    end: int,
    group_by: Sequence[str] = (),
    step: int | None = None,
    *,
    limits: Limits = Limits(),
    aggregate: Aggregate = Aggregate.SUM,
) -> dict[str, Any]:
    """Return *totals* per *step* in seconds and per group of labels, as the API has them in JSON.

    There is at least one profile, and all are from *start* to *end*. Steps begin at multiples of their length
    since 1970 and cover the range; if *start* is 0, they begin with the first profile. Each group has a list with
    a number of profiles per step, and for each sample type one with a value per step: a sum, or what *aggregate*
    says; ``aggregates`` say it, too. An increase counts in the step of the later profile. Values wrap at 64 bits,
    as in merges. If there are too many groups, those with the fewest profiles are combined into one without
    labels, and ``others`` is their number. In *group_by*, ``service`` is the name of the service.

    Raise ``TooMany`` if the range has too many steps, or the result too many numbers.
    """
    if not start:
        totals = list(totals)
    first = start or min(min(columns.created_at) for columns in totals)
    if not step:
        totals = iter(totals)
        sample = list(islice(totals, _SAMPLED_CHUNKS))
        totals = chain(sample, totals)
        step = _default_step((end - first) // SECOND, _typical_interval(sample))
    step_nanos = step * SECOND
    first_step = first // step_nanos
    count = end // step_nanos - first_step + 1
    if count > limits.steps:
        raise limits.too_many(
            "steps", f"step={step} makes {count} steps; choose a longer step, or a shorter range"
        )
    actions = _Actions(aggregate, limits)
    columns, groups = _add_up_totals(totals, group_by, step_nanos, actions)
    combined = _combine_smallest([groups[key] for key in sorted(groups)], limits.groups)
    numbers = len(combined) * count * (1 + len(columns))
    if numbers > limits.timeline_numbers:
        raise limits.too_many(
            "timeline_numbers",
            f"{len(combined)} groups, {count} steps and {len(columns)} sample types make {numbers} numbers; choose"
            " a longer step, or group by fewer labels",
        )
    steps = range(first_step, first_step + count)
    return {
        "start": format_time(first_step * step_nanos),
        "step": step,
        "sample_types": [{"type": sample_type, "unit": unit} for sample_type, unit in columns],
        "aggregates": [actions.describe(sample_type) for sample_type in columns],
        "groups": [group.to_json(group_by, columns.values(), steps) for group in combined],
    }


def _add_up_totals(
    totals: Iterable[Totals], group_by: Sequence[str], step_nanos: int, actions: "_Actions"
) -> tuple[Mapping[tuple[str, str], int], Mapping[_GroupKey, "_Group"]]:
    """Return the number of each sample type, and the groups with their sums, by steps since 1970.

    Sample types are in the order in which profiles had them first, whatever the order of *totals*. A year of a
    service has half a million rows: they are added up by slices of columns.
    """
    columns: dict[tuple[str, str], int] = {}
    firsts: dict[tuple[str, str], tuple[int, int]] = {}  # the time of the first profile, and the position in it
    groups: dict[_GroupKey, _Group] = {}
    for service, created_at, series, labels, measured, types, values, profile_type, kinds in totals:
        keys = [
            tuple(service if name == "service" else part.get(name) or "" for name in group_by) for part in labels
        ]
        for (key, kind), rows in _split_rows(keys, series, measured).items():
            group = groups.setdefault(key, _Group(key))
            times, own_values = created_at, values
            if 1 < len(rows) < len(values):
                pick = itemgetter(*rows)
                times, own_values = pick(created_at), pick(values)
            elif len(rows) < len(values):
                times, own_values = [created_at[rows[0]]], [values[rows[0]]]
            numbers = [columns.setdefault(sample_type, len(columns)) for sample_type in types[kind]]
            for position, sample_type in enumerate(types[kind]):
                first = (times[0], position)
                firsts[sample_type] = min(firsts.get(sample_type, first), first)
            declared = kinds[kind] if kinds else [None] * len(types[kind])
            own_actions = [
                actions.choose(profile_type, SampleType(*sample_type, own))
                for sample_type, own in zip(types[kind], declared, strict=True)
            ]
            # Faster than zip(*own_values), which makes an iterator for each row.
            value_columns = [
                (number, [row[position] for row in own_values])
                for position, (number, action) in enumerate(zip(numbers, own_actions, strict=True))
                if action is Aggregate.SUM
            ]
            if len(value_columns) < len(numbers):
                numbered = list(zip(numbers, own_actions, strict=True))
                for row in rows:
                    source, time = (service, profile_type, labels[series[row]]), created_at[row]
                    group.step_values.add(source, time, time // step_nanos, numbered, values[row])
            begin = 0
            while begin < len(times):
                step = times[begin] // step_nanos
                end = bisect_left(times, (step + 1) * step_nanos, begin)
                group.profiles[step] += end - begin
                for number, column in value_columns:
                    group.sums[number][step] += sum(column[begin:end])
                begin = end
        kept = sum(group.step_values.kept for group in groups.values())
        if kept > actions.limits.timeline_values:
            raise too_many_values(actions.limits, kept)
    for group in groups.values():
        group.step_values.finish(group.sums, lambda time: time // step_nanos)
    ordered = sorted(columns, key=lambda sample_type: (firsts[sample_type], sample_type))
    return {sample_type: columns[sample_type] for sample_type in ordered}, groups


def _split_rows(
    keys: Sequence[_GroupKey], series: Sequence[int], measured: Sequence[int]
) -> Mapping[tuple[_GroupKey, int], Sequence[int]]:
    """Return the rows of each group and each kind of totals; *keys* are the groups of the series."""
    # A cell is a number for a series and a kind, which is faster than a pair.
    width = max(measured) + 1
    cells = series if width == 1 else [own * width + kind for own, kind in zip(series, measured, strict=True)]
    groups = {cell: (keys[cell // width], cell % width) for cell in sorted(set(cells))}
    if len(set(groups.values())) == 1:
        return {groups[cells[0]]: range(len(series))}
    rows: defaultdict[tuple[_GroupKey, int], list[int]] = defaultdict(list)
    add_row = {cell: rows[group].append for cell, group in groups.items()}
    for row, cell in enumerate(cells):
        add_row[cell](row)
    return rows


class _Actions:
    """Decides how each sample type is aggregated, and remembers it."""

    def __init__(self, aggregate: Aggregate, limits: Limits) -> None:
        self._aggregate = aggregate
        self.limits = limits
        self._known: dict[tuple[ProfileType, SampleType], Aggregate] = {}

    def choose(self, profile_type: ProfileType, sample_type: SampleType) -> Aggregate:
        """Return how a *sample_type* is aggregated in profiles of this type."""
        key = profile_type, sample_type
        if key not in self._known:
            name, unit, kind = sample_type
            declared = Kind(kind) if kind else None
            kind = find_kind(self.limits.sample_kinds, profile_type, name, unit, declared)
            self._known[key] = choose_aggregate(self._aggregate, kind)
        return self._known[key]

    def describe(self, sample_type: tuple[str, str]) -> str:
        """Return in a word how a sample type is aggregated; several if that depends on the profile type."""
        actions = {action: None for (_, own), action in self._known.items() if own[:2] == sample_type}
        return " and ".join("increase" if action is Aggregate.DELTA else action for action in actions)


@dataclass(slots=True)
class _Group:
    """The number of profiles per step, and for each column, a sample type, the values per step.

    Steps without profiles have no item: there may be many more groups than are returned. ``others`` is the number
    of groups that were combined into this one. ``step_values`` become a part of ``sums`` at the end.
    """

    key: _GroupKey
    profiles: Counter[int] = field(default_factory=Counter)
    sums: defaultdict[int, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    others: int = 0
    step_values: StepValues[int] = field(default_factory=StepValues)

    def to_json(self, group_by: Sequence[str], columns: Iterable[int], steps: range) -> dict[str, Any]:
        """Return the group with a number for each of *steps*, as the API has it in JSON."""
        labels = [] if self.others else zip(group_by, self.key, strict=True)
        body: dict[str, Any] = {
            "labels": [{"key": key, "value": value} for key, value in labels],
            "profiles": _to_list(self.profiles, steps),
            "values": [_to_list(self.sums.get(column, {}), steps) for column in columns],
        }
        return {**body, "others": self.others} if self.others else body


def _combine_smallest(groups: list[_Group], max_groups: int) -> list[_Group]:
    """Return *groups*, or, if there are too many, the largest of them and one group of all others."""
    if len(groups) <= max_groups:
        return groups
    by_size = sorted(groups, key=lambda group: -sum(group.profiles.values()))
    kept, rest = set(map(id, by_size[: max_groups - 1])), by_size[max_groups - 1 :]
    profiles = _add_up(group.profiles for group in rest)
    sums: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for column in {column for group in rest for column in group.sums}:
        sums[column] = _add_up(group.sums[column] for group in rest if column in group.sums)
    return [*(group for group in groups if id(group) in kept), _Group((), profiles, sums, len(rest))]


def _add_up(series: Iterable[Counter[int]]) -> Counter[int]:
    sums: Counter[int] = Counter()
    for values in series:
        sums.update(values)
    return sums


def _to_list(values: Mapping[int, int], steps: range) -> list[int]:
    return [wrap_int64(values.get(step, 0)) for step in steps]


def _typical_interval(totals: Sequence[Totals]) -> int:
    """Return the median of the seconds between profiles of one series."""
    gaps: list[int] = []
    last: dict[tuple[str, Labels], int] = {}
    for service, created_at, series, labels, *_ in totals:
        for time, own_series in islice(zip(created_at, series, strict=True), _SAMPLED_ROWS):
            key = service, labels[own_series]
            gap = time - last.get(key, time)
            if gap > 0:
                gaps.append(gap)
            last[key] = time
    return int(median(gaps)) // SECOND if gaps else 0


def _default_step(seconds: int, interval: int) -> int:
    """Return a round step that divides this many *seconds* into at most 200 steps.

    It is not shorter than *interval*, the seconds between profiles, or every second step would be empty.
    """
    shortest = max(interval, -(-(seconds + 1) // (_DEFAULT_STEPS - 1)))  # an unaligned range touches one step more
    return next((step for step in _ROUND_STEPS if step >= shortest), -(-shortest // _WEEK_SECONDS) * _WEEK_SECONDS)
