"""Profiles on their way into a storage."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from profbucket.errors import ProfbucketError
from profbucket.model.labels import Labels
from profbucket.model.meta import Total
from profbucket.model.profile_type import ProfileType
from profbucket.model.sample_kinds import Kind


class Content(NamedTuple):
    """Facts about a valid pprof that has samples: its own time, 0 if it has none, and the sums of its samples."""

    time_nanos: int
    totals: tuple[Total, ...]


@dataclass(frozen=True, slots=True)
class Upload:
    """A profile and what it is stored under. ``created_at`` is its time if ``data`` contain none.

    ``source`` names the part of the request that it comes from, or is ``""`` if that is the whole request.
    ``kinds`` are those of sample types that the agent has said, by name. ``content`` is known if ``data`` has been
    decoded already.
    """

    service: str
    type: ProfileType
    labels: Labels
    data: bytes
    created_at: int | None = None
    source: str = ""
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    content: Content | None = None


# A request can hold several profiles. The error of one does not affect the others.
Uploads = Iterator[Upload | ProfbucketError]
