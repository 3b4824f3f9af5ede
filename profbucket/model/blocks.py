"""Blocks: one object holds many profiles of one service and type, both merged and separable.

The object is a sequence of gzip members, its *parts*; each can be decompressed on its own. As a whole it is a
valid pprof: the additional data is in protobuf fields that pprof tools ignore.

    merged      a pprof: the merge of all members, including samples that add up to zero
    metas       field 2001: the list of members, as columns in JSON
    series      field 2002: the merged samples of each series, with their values
    profiles    field 2003: the merged samples of each member; one or more parts, each with some of the members

A merge of all members reads the first part, a merge of some series the first three, and a merge of a time range
that cuts through the block all of them. The work depends on the number of distinct stacks, not of members.
Members are numbered in order of position, series in order of first appearance.
"""

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import chain
from operator import attrgetter

from profbucket.errors import Invalid
from profbucket.model.ids import ProfileId, ProfileName, are_digests, block_key, parse_block_key
from profbucket.model.labels import Labels
from profbucket.model.meta import BatchPart, Meta, SampleType, Total
from profbucket.model.profile_type import ProfileType
from profbucket.model.sample_kinds import Kind
from profbucket.times import LATEST

MERGED, METAS, SERIES, PROFILES = range(
    4
)  # part numbers, indexes of Block.ends; PROFILES is the first of its kind

_FORMAT = 1
_KINDS = {None, *Kind}
_MAX_SIZE = 1 << 53  # of a member, in bytes: sums of sizes are exact everywhere


@dataclass(frozen=True, slots=True)
class Block:
    """The record of a block, whose profiles are its *members*.

    ``id`` is the object's key. All members were created within one period of ``period`` seconds, from ``first`` to
    ``last`` (nanoseconds since 1970). ``count`` is their number and ``size`` the sum of their sizes as uploaded.
    ``ends`` are the offsets at which the object's parts end. Blocks can be merged if their ``measures`` are equal.
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
        """The sort key of lists of blocks."""
        return self.first, self.id

    def overlaps(self, start: int, end: int) -> bool:
        """Return whether a member may have been created from *start* to *end*, both included."""
        return start <= end and self.first <= end and start <= self.last


@dataclass(frozen=True, slots=True)
class Members:
    """The members of a block as columns, with one row per member, ordered by position. There is at least one.

    A row's ``series`` is an index into ``labels``, its ``measured`` an index into ``types`` (sample types with
    units). Its ``totals`` are the values for those sample types. ``kinds`` are those of the sample types that
    agents have said, for each element of ``types``; empty if they have said none. ``parts`` are the texts of those
    that were stored in batches, and ``""`` for others; empty if there are only others.
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
    kinds: Sequence[Sequence[str | None]] = ()
    parts: Sequence[str] = ()

    @classmethod
    def from_metas(cls, metas: Sequence[Meta]) -> "Members":
        """Return *metas*, all of one service and type and ordered by position, as columns."""
        labels: dict[Labels, int] = {}
        types: dict[tuple[SampleType, ...], int] = {}
        series = [labels.setdefault(meta.labels, len(labels)) for meta in metas]
        measured = [types.setdefault(meta.sample_types, len(types)) for meta in metas]
        return cls(
            service=metas[0].service,
            type=metas[0].type,
            labels=list(labels),
            types=[[item[:2] for item in sample_types] for sample_types in types],
            created_at=[meta.created_at for meta in metas],
            digest=[ProfileId.parse(meta.id).digest for meta in metas],
            series=series,
            size=[meta.size for meta in metas],
            measured=measured,
            totals=[[total.value for total in meta.totals] for meta in metas],
            kinds=collect_kinds(types),
            parts=[meta.part.dump() if meta.part else "" for meta in metas] if any(map(_get_part, metas)) else (),
        )

    def __len__(self) -> int:
        return len(self.created_at)

    def check(self) -> "Members":
        """Return the columns, or raise ``ValueError`` if a row of one has no valid value, or there is no row."""
        if not self._is_valid():
            raise ValueError("columns do not match")
        return self

    def meta(self, row: int) -> Meta:
        created_at = self.created_at[row]
        number, values = self.measured[row], self.totals[row]
        names = zip(self.types[number], values, self.kinds_of(number), strict=True)
        return Meta(
            id=str(ProfileId(self.service, self.type, created_at, self.digest[row])),
            service=self.service,
            type=self.type,
            labels=self.labels[self.series[row]],
            created_at=created_at,
            size=self.size[row],
            totals=tuple(Total(*name, value, kind) for name, value, kind in names),
            part=BatchPart.load(part) if self.parts and (part := self.parts[row]) else None,
        )

    def kinds_of(self, number: int) -> Sequence[str | None]:
        """Return the kind of each sample type in this element of ``types``."""
        return self.kinds[number] if self.kinds else [None] * len(self.types[number])

    def metas(self) -> Iterator[Meta]:
        return map(self.meta, range(len(self)))

    def names(self) -> list[ProfileName]:
        """Return the name of each member, ordered by position."""
        return list(zip(self.created_at, self.digest, strict=True))

    def rows_at(self, created_at: int) -> range:
        """Return the rows of the members that were created at that time."""
        return range(bisect_left(self.created_at, created_at), bisect_right(self.created_at, created_at))

    def member_ids(self, metas: Iterable[Meta]) -> list[str]:
        """Return the ids of those *metas*, all of the block's service, that are members."""
        first, last = self.created_at[0], self.created_at[-1]
        candidates = [meta.id for meta in metas if meta.type == self.type and first <= meta.created_at <= last]
        names = set(self.names()) if candidates else ()
        return [profile_id for profile_id in candidates if ProfileId.parse(profile_id).name in names]

    def dump(self) -> bytes:
        """Return the part *metas* of the block, uncompressed."""
        first = self.created_at[0]
        return json.dumps(
            {
                "format": _FORMAT,
                "service": self.service,
                "type": self.type,
                "labels": [labels.format() for labels in self.labels],
                "types": self.types,
                "first": first,
                "after": [time - first for time in self.created_at],
                "digest": self.digest,
                "series": self.series,
                "size": self.size,
                "measured": self.measured,
                "totals": self.totals,
                **({"kinds": self.kinds} if self.kinds else {}),
                **({"parts": self.parts} if self.parts else {}),
            },
            separators=(",", ":"),
        ).encode()

    @classmethod
    def load(cls, text: bytes | str) -> "Members":
        """Read what :meth:`dump` wrote, or raise ``Invalid``."""
        try:
            columns = json.loads(text)
            if columns["format"] != _FORMAT:
                raise Invalid(
                    f"unsupported block format {columns['format']!r}; this version reads format {_FORMAT}",
                    code="damaged_block",
                )
            service, first = columns["service"], columns["first"]
            if type(service) is not str or type(first) is not int or not 0 <= first <= LATEST:
                raise ValueError(f"service {service!r:.80}, first {first!r:.80}")
            return cls(
                service=service,
                type=ProfileType(columns["type"]),
                labels=[_parse_labels(labels) for labels in columns["labels"]],
                types=[[(sample_type, unit) for sample_type, unit in names] for names in columns["types"]],
                created_at=[first + after for after in columns["after"]],
                digest=columns["digest"],
                series=columns["series"],
                size=columns["size"],
                measured=columns["measured"],
                totals=columns["totals"],
                kinds=columns.get("kinds", ()),
                parts=columns.get("parts", ()),
            ).check()
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
            message = f"invalid list of a block's members: {error!r}"
            raise Invalid(message[:300], code="damaged_block") from None

    def _is_valid(self) -> bool:
        """Return whether every row of every column has a valid value, and there is a row."""
        count, widths = len(self), [len(sample_types) for sample_types in self.types]
        columns = (self.digest, self.series, self.size, self.measured, self.totals)
        return (
            count > 0
            and all(len(column) == count for column in columns)
            and all(set(map(type, column)) <= {int} for column in (self.created_at, self.series, self.size))
            and set(map(type, self.measured)) <= {int}
            and set(map(type, chain.from_iterable(chain.from_iterable(self.types)))) <= {str}
            and set(map(type, chain.from_iterable(self.totals))) <= {int}
            and 0 <= min(self.size) <= max(self.size) <= _MAX_SIZE
            and set(map(type, self.digest)) <= {str}
            and are_digests(self.digest)
            and 0 <= min(self.series) <= max(self.series) < len(self.labels)
            and 0 <= min(self.measured) <= max(self.measured) < len(self.types)
            and 0 <= min(self.created_at) <= max(self.created_at) <= LATEST
            and (not self.kinds or list(map(len, self.kinds)) == widths)
            and {kind for kinds in self.kinds for kind in kinds} <= _KINDS
            and list(map(len, self.totals)) == [widths[number] for number in self.measured]
            and (not self.parts or (len(self.parts) == count and all(map(_is_part, self.parts))))
        )


def collect_kinds(types: Iterable[Sequence[SampleType]]) -> Sequence[Sequence[str | None]]:
    """Return the kinds of each element of *types*; nothing if there are none."""
    kinds = [[item.kind for item in sample_types] for sample_types in types]
    return kinds if any(kind for own in kinds for kind in own) else ()


def make_block(members: Members, period: int, ends: Sequence[int], measures: str, written_at: int) -> Block:
    """Return the record of the block of *members*; another *written_at* makes another block."""
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


def hash_measures(sample_types: object, period_type: object, frame_rules: Sequence[bytes] = ()) -> str:
    """Return ``Block.measures``: equal for blocks that can be merged."""
    measures = (sample_types, period_type, *(frame_rules if any(frame_rules) else ()))
    return sha256(repr(measures).encode()).hexdigest()[:8]


_METADATA_NUMBERS = ("period", "first", "last", "count", "size", "written_at")


def to_metadata(block: Block) -> dict[str, str]:
    """Return the object metadata, which together with the key restore *block*."""
    numbers = {name.replace("_", "-"): str(getattr(block, name)) for name in _METADATA_NUMBERS}
    return {**numbers, "ends": ",".join(map(str, block.ends)), "measures": block.measures}


def from_metadata(key: str, metadata: Mapping[str, str]) -> Block:
    """Return the record of the block under *key*, or raise ``Invalid`` if it is not a block."""
    service, profile_type = parse_block_key(key)
    try:
        numbers = {name: int(metadata[name.replace("_", "-")]) for name in _METADATA_NUMBERS}
        ends = tuple(map(int, metadata["ends"].split(",")))
        if len(ends) <= PROFILES or list(ends) != sorted(ends) or ends[0] < 1:
            raise ValueError(f"ends {ends}")
        return Block(
            id=key, service=service, type=profile_type, ends=ends, measures=metadata["measures"], **numbers
        )
    except (KeyError, ValueError) as error:
        raise Invalid(f"invalid block metadata of {key[:200]!r}: {error!r}", code="damaged_block") from None


_get_part = attrgetter("part")


def _is_part(text: object) -> bool:
    if text == "":
        return True
    try:
        BatchPart.load(text)  # type: ignore[arg-type] # a TypeError otherwise
    except ValueError:
        return False
    return True


_parse_labels = lru_cache(4096)(Labels.parse)
