"""Findings of a comparison of the index with the bucket: the states of objects and their entries."""

from dataclasses import dataclass
from enum import StrEnum

from profbucket.maintenance.copies import Copy
from profbucket.model.blocks import Block
from profbucket.model.meta import Meta
from profbucket.storage.batches import is_batch_key
from profbucket.storage.sources import range_of_profile


class State(StrEnum):
    """The state of an object and its index entry."""

    OK = "ok"
    MISSING_ENTRY = "missing_entry"  # there is an object, but no entry, or no series with its sample types
    MISSING_OBJECT = "missing_object"  # there is an entry, but no object
    MISMATCH = "mismatch"  # the entry differs from the object
    DUPLICATE = "duplicate"  # the entry's profiles are in a live block: posted again, or a block that was merged
    MISSING_SERIES = "missing_series"  # a block has a member of no series, or of one without its sample types
    DAMAGED = "damaged"  # the object is not what was written; fsck and reindex leave it alone
    QUARANTINED = "quarantined"  # the damaged object was moved aside
    RESTORED = "restored"  # metadata that were damaged were written again; the damaged object was copied aside
    UNKNOWN_OBJECT = "unknown_object"  # the object is not a profile or a block; it is left alone


@dataclass(frozen=True, slots=True)
class Finding:
    """The state of one object, its entry, or both.

    A profile in a batch has the key that its own object would have. ``copy`` is what the bucket has of it.
    """

    state: State
    object_key: str
    copy: Copy | None = None
    entry: Meta | Block | None = None

    @property
    def batch(self) -> str | None:
        """The key of the batch that the finding is about, or that has the profile, at least by its entry."""
        member = self.copy or self.entry
        if isinstance(member, Meta) and member.part:
            return range_of_profile(member).key
        return self.object_key if is_batch_key(self.object_key) else None
