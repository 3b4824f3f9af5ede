"""Convert between a profile's ``Meta`` and the metadata of its object."""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote, unquote

from profbucket.errors import Invalid
from profbucket.model.ids import ProfileId
from profbucket.model.labels import Labels
from profbucket.model.meta import Meta, Total
from profbucket.model.sample_kinds import Kind

# S3 allows 2,048 bytes for all names and values; the rest is for the names, and the digest and size of the object.
_MAX_BYTES = 1950
_OMITTED = "omitted"  # instead of totals that do not fit
_KIND_LETTERS: dict[str | None, str] = {None: "-"} | {kind: kind[0] for kind in Kind}
_KINDS = {letter: kind for kind, letter in _KIND_LETTERS.items()}
_TOTAL = re.compile(r"([^:=]*):([^:=]*)=(-?\d{1,40})", re.ASCII)


def to_metadata(meta: Meta) -> dict[str, str]:
    """Return the object metadata for *meta*: with the object's key and size, enough to rebuild the index.

    Totals that do not fit are omitted; they can be computed from the profile.
    """
    labels = meta.labels.format()
    totals = ",".join(
        f"{quote(total.type, safe='')}:{quote(total.unit, safe='')}={total.value}" for total in meta.totals
    )
    # A letter for each sample type, so that they fit always.
    kinds = {"kinds": "".join(_KIND_LETTERS[total.kind] for total in meta.totals)}
    kinds = kinds if any(total.kind for total in meta.totals) else {}
    size = sum(map(len, (labels, totals, *kinds, *kinds.values())))
    return {"labels": labels, "totals": totals if size <= _MAX_BYTES else _OMITTED, **kinds}


def has_totals(metadata: Mapping[str, str]) -> bool:
    """Return whether *metadata* hold the totals, or the profile must be decoded for them."""
    return metadata.get("totals") != _OMITTED


def from_metadata(object_key: str, size: int, metadata: Mapping[str, str]) -> Meta:
    """Return the meta of the profile in an object, without totals that were omitted.

    Raise ``Invalid`` if the object is not a profile.
    """
    profile_id = ProfileId.from_object_key(object_key)
    totals = []
    for item in filter(None, metadata.get("totals", "").split(",") if has_totals(metadata) else ()):
        match = _TOTAL.fullmatch(item)
        if not match:
            raise Invalid(f"invalid total {item[:80]!r} in the metadata of an object: expected type:unit=value")
        totals.append(Total(unquote(match[1]), unquote(match[2]), int(match[3])))
    return Meta(
        id=str(profile_id),
        service=profile_id.service,
        type=profile_id.type,
        labels=Labels.parse(metadata.get("labels", "")),
        created_at=profile_id.created_at,
        size=size,
        totals=add_kinds(totals, metadata),
    )


def add_kinds(totals: Sequence[Total], metadata: Mapping[str, str]) -> tuple[Total, ...]:
    """Return *totals* with the kinds in *metadata*; unchanged if these are of other totals."""
    kinds = metadata.get("kinds", "")
    if len(kinds) != len(totals):
        return tuple(totals)
    return tuple(total._replace(kind=_KINDS.get(letter)) for total, letter in zip(totals, kinds, strict=True))
