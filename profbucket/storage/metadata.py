"""The metadata of a profile's object, and the record that they and the key make up."""

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

from profbucket.errors import Invalid
from profbucket.model.ids import ProfileId
from profbucket.model.labels import Labels
from profbucket.model.meta import Meta, Total

_TOTAL = re.compile(r"([^:=]*):([^:=]*)=(-?\d{1,40})", re.ASCII)  # of metadata


def to_metadata(meta: Meta) -> dict[str, str]:
    """What of *meta* its key does not say, as an object's metadata: the bucket alone can rebuild the index."""
    totals = (f"{quote(t.type, safe='')}:{quote(t.unit, safe='')}={t.value}" for t in meta.totals)
    return {"labels": meta.labels.format(), "totals": ",".join(totals)}


def from_metadata(key: str, size: int, metadata: Mapping[str, str]) -> Meta:
    """The meta of the object under *key*, or raise ``Invalid`` where it is no profile of ours."""
    profile_id = ProfileId.from_object_key(key)
    totals = []
    for item in filter(None, metadata.get("totals", "").split(",")):
        match = _TOTAL.fullmatch(item)
        if not match:
            raise Invalid(f"not a total of a profile: {item[:80]!r}")
        totals.append(Total(unquote(match[1]), unquote(match[2]), int(match[3])))
    return Meta(
        id=str(profile_id),
        service=profile_id.service,
        type=profile_id.type,
        labels=Labels.parse(metadata.get("labels", "")),
        created_at=profile_id.created_at,
        size=size,
        totals=tuple(totals),
    )
