"""A block: many profiles of one service and type in one object, merged and still apart.

Its parts are gzip members, one after the other, each readable by itself. Together they are a pprof that any tool
opens: what is not pprof stands in fields that no tool knows.

    merged      a pprof: the merge of all members, samples that add up to zero included
    metas       field 2001: the list of the members, in JSON columns
    series      field 2002: which of the merged samples each series has, with its values
    profiles    field 2003: which of them each member has; one part or several, some members in each

A merge of all members reads the first part; one of some series the first three; one that is cut by time all. What
is computed follows the distinct stacks, not the members. Members are numbered in the order of their positions,
series in the order in which the list names them.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

from profbucket.errors import Invalid
from profbucket.model.ids import ProfileId, ProfileName, block_key, parse_block_key
from profbucket.model.labels import Labels
from profbucket.model.meta import Meta, Total
from profbucket.model.profile_type import ProfileType
from profbucket.times import LATEST

MERGED, METAS, SERIES, PROFILES = range(4)  # the parts, in Block.ends; PROFILES is the first of those

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Block:
    """The record of a block: one object that holds profiles of one service and type, its *members*.

    All were created in one period of so many seconds, from ``first`` to ``last``. ``size`` is their bytes as
    posted, ``ends`` is where each part of the object ends (see above), and ``measures``
    is the same for blocks that can be merged. ``id`` is the object's key.
    """

    id: str
    service: str
    type: ProfileType
    period: int
    first: int
    last: int
    count: int
    size: int
    ends: tuple[int, ...]
    measures: str
    written_at: int

    @property
    def position(self) -> tuple[int, str]:
        """Where it stands among blocks: by its first member."""
        return self.first, self.id

    def overlaps(self, start: int, end: int) -> bool:
        """Whether a member may be created from *start* to *end*, both included."""
        return start <= end and self.first <= end and start <= self.last


@dataclass(frozen=True, slots=True)
class Members:
    """The members of a block as columns, a row each, ordered by position. There is at least one.

    ``series`` and ``measured`` say for each row which of ``labels`` and which of ``types`` it has; ``totals`` are
    the values alone.
    """

    service: str
    type: ProfileType
    labels: Sequence[Labels]
    types: Sequence[Sequence[tuple[str, str]]]
    created_at: Sequence[int]
    digest: Sequence[str]
    series: Sequence[int]
    size: Sequence[int]
    measured: Sequence[int]
    totals: Sequence[Sequence[int]]

    @classmethod
    def from_metas(cls, metas: Sequence[Meta]) -> "Members":
        """The members that *metas* are, of one service and type, ordered by position."""
        labels: dict[Labels, int] = {}
        types: dict[tuple[tuple[str, str], ...], int] = {}
        series = [labels.setdefault(meta.labels, len(labels)) for meta in metas]
        names = (tuple((total.type, total.unit) for total in meta.totals) for meta in metas)
        measured = [types.setdefault(one, len(types)) for one in names]
        return cls(
            service=metas[0].service,
            type=metas[0].type,
            labels=list(labels),
            types=list(types),
            created_at=[meta.created_at for meta in metas],
            digest=[ProfileId.parse(meta.id).digest for meta in metas],
            series=series,
            size=[meta.size for meta in metas],
            measured=measured,
            totals=[[total.value for total in meta.totals] for meta in metas],
        )

    def __len__(self) -> int:
        return len(self.created_at)

    def meta(self, row: int) -> Meta:
        created_at = self.created_at[row]
        names, values = self.types[self.measured[row]], self.totals[row]
        return Meta(
            id=str(ProfileId(self.service, self.type, created_at, self.digest[row])),
            service=self.service,
            type=self.type,
            labels=self.labels[self.series[row]],
            created_at=created_at,
            size=self.size[row],
            totals=tuple(Total(*name, value) for name, value in zip(names, values, strict=True)),
        )

    def metas(self) -> Iterator[Meta]:
        return map(self.meta, range(len(self)))

    def names(self) -> list[ProfileName]:
        """What each member is called among those of its service and type, in the order of positions."""
        return list(zip(self.created_at, self.digest, strict=True))

    def member_ids(self, metas: Iterable[Meta]) -> list[str]:
        """The ids of those *metas*, all of its service, that are members."""
        first, last = self.created_at[0], self.created_at[-1]
        near = [one.id for one in metas if one.type == self.type and first <= one.created_at <= last]
        names = set(self.names()) if near else ()
        return [one for one in near if ProfileId.parse(one).name in names]

    def dump(self) -> bytes:
        first = self.created_at[0]
        return json.dumps(
            {
                "format": _FORMAT,
                "service": self.service,
                "type": self.type,
                "labels": [one.format() for one in self.labels],
                "types": self.types,
                "first": first,
                "after": [time - first for time in self.created_at],
                "digest": self.digest,
                "series": self.series,
                "size": self.size,
                "measured": self.measured,
                "totals": self.totals,
            },
            separators=(",", ":"),
        ).encode()

    @classmethod
    def load(cls, text: bytes) -> "Members":
        """Read what :meth:`dump` wrote, or raise ``Invalid``."""
        try:
            found = json.loads(text)
            if found["format"] != _FORMAT:
                raise Invalid(f"a block of format {found['format']!r}: this version reads format {_FORMAT}")
            first = found["first"]
            members = cls(
                service=found["service"],
                type=ProfileType(found["type"]),
                labels=[_labels(one) for one in found["labels"]],
                types=[[(sample_type, unit) for sample_type, unit in names] for names in found["types"]],
                created_at=[first + after for after in found["after"]],
                digest=found["digest"],
                series=found["series"],
                size=found["size"],
                measured=found["measured"],
                totals=found["totals"],
            )
            if not members or not all(map(members._is_whole, range(len(members)))):
                raise ValueError("columns that do not fit together")
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise Invalid(f"not the list of a block's members: {error!r}"[:300]) from None
        return members

    def _is_whole(self, row: int) -> bool:
        return (
            0 <= self.series[row] < len(self.labels)
            and 0 <= self.measured[row] < len(self.types)
            and len(self.totals[row]) == len(self.types[self.measured[row]])
            and 0 <= self.created_at[row] <= LATEST
            and isinstance(self.digest[row], str)
            and isinstance(self.size[row], int)
        )


def make_block(members: Members, period: int, ends: Sequence[int], measures: str, written_at: int) -> Block:
    """The record of the block of *members*, made at *written_at*: another attempt at it is another block."""
    names = [f"{period} {written_at}", *(f"{created_at}-{digest}" for created_at, digest in members.names())]
    first, last = members.created_at[0], members.created_at[-1]
    return Block(
        id=block_key(members.service, members.type, first, "\n".join(names)),
        service=members.service,
        type=members.type,
        period=period,
        first=first,
        last=last,
        count=len(members),
        size=sum(members.size),
        ends=tuple(ends),
        measures=measures,
        written_at=written_at,
    )


def hash_measures(sample_types: object, period_type: object) -> str:
    """The same text for blocks that can be merged, and another for those that measure something else."""
    return sha256(repr((sample_types, period_type)).encode()).hexdigest()[:8]


_NUMBERS = ("period", "first", "last", "count", "size", "written_at")


def to_metadata(block: Block) -> dict[str, str]:
    """What of *block* its key does not say, as the object's metadata: the bucket alone can rebuild the index."""
    numbers = {name.replace("_", "-"): str(getattr(block, name)) for name in _NUMBERS}
    return {**numbers, "ends": ",".join(map(str, block.ends)), "measures": block.measures}


def from_metadata(key: str, metadata: Mapping[str, str]) -> Block:
    """The record of the block under *key*, or raise ``Invalid`` where it is none of ours."""
    service, profile_type = parse_block_key(key)
    try:
        numbers = {name: int(metadata[name.replace("_", "-")]) for name in _NUMBERS}
        ends = tuple(map(int, metadata["ends"].split(",")))
        if len(ends) <= PROFILES or list(ends) != sorted(ends) or ends[0] < 1:
            raise ValueError(f"ends {ends}")
        return Block(
            id=key, service=service, type=profile_type, ends=ends, measures=metadata["measures"], **numbers
        )
    except (KeyError, ValueError) as error:
        raise Invalid(f"the metadata of {key[:200]!r} are not those of a block: {error!r}") from None


_labels = lru_cache(4096)(Labels.parse)
