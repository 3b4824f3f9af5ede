"""A profile that protobuf has split and numpy has not read yet."""

from dataclasses import dataclass, field

from profbucket.limits import Limits


@dataclass(slots=True)
class PendingProfile:
    """A profile that waits for its batch, split into encoded parts."""

    name: str
    raw: bytes
    header: bytes = b""  # all fields but strings, samples, locations and functions
    samples: list[bytes] = field(default_factory=list)
    locations: bytes = b""  # locations and functions
    string_indexes: bytes = b""  # of its strings in the merge's string table, as the bytes of an int64 array
    is_validated: bool = False  # by ``codec.decode``
    limits: Limits | None = None  # if they are not those of the merge
    added_label: tuple[int, int] | None = None  # of all samples: key and text, in the merge's string table
