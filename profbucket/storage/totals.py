"""Totals of profiles, from the index and from the member lists of blocks: no profile is opened."""

from collections.abc import Sequence
from typing import NamedTuple

from profbucket.model.blocks import Members
from profbucket.model.labels import Labels
from profbucket.model.profile_type import ProfileType


class Totals(NamedTuple):
    """The totals of profiles of one service as columns, with one row per profile, ordered by time.

    A row's ``series`` is an index into ``labels``, its ``measured`` one into ``types``: sample types with units.
    Its ``values`` are the totals for those. ``type`` is the profile type of all; ``kinds`` are as in
    :class:`~profbucket.model.blocks.Members`.
    """

    service: str
    created_at: Sequence[int]
    series: Sequence[int]
    labels: Sequence[Labels]
    measured: Sequence[int]
    types: Sequence[Sequence[tuple[str, str]]]
    values: Sequence[Sequence[int]]
    type: ProfileType
    kinds: Sequence[Sequence[str | None]] = ()


def select_totals(members: Members, rows: Sequence[int]) -> Totals:
    """Return the totals of these *rows*."""
    created_at, series, measured, totals = members.created_at, members.series, members.measured, members.totals
    if len(rows) < len(members):
        created_at, series = [created_at[row] for row in rows], [series[row] for row in rows]
        measured, totals = [measured[row] for row in rows], [totals[row] for row in rows]
    return Totals(
        members.service,
        created_at,
        series,
        members.labels,
        measured,
        members.types,
        totals,
        members.type,
        members.kinds,
    )
