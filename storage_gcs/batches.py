"""Documents with the entries of profiles that were stored in one batch.

A document holds up to 900 KB of entries, compressed, of all profile types. A single entry has a document of its
own, as that of a profile that was posted alone. So compaction, which takes all entries of an hour, deletes whole
documents, and rewrites one only where a batch reaches from one hour into the next, or if it fails for a type.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from profbucket.errors import Invalid
from profbucket.model.batches import MAX_NANOS, dump_members, load_members, merge_members
from profbucket.model.ids import ProfileId
from profbucket.model.meta import Meta
from profbucket.model.profile_type import ProfileType
from profbucket.storage.ports import Selection

if TYPE_CHECKING:
    from storage_gcs.firestore import Calls

_MAX_BYTES = 900_000  # Firestore's limit is a mebibyte for each document
_MAX_TYPE_LIST_BYTES = 1000  # Firestore indexes 1,500 bytes of a text
_FIRST_PAGE, _LARGEST_PAGE = 4, 100  # documents in one answer


class EntryGroup(NamedTuple):
    """The entries in one document, ordered by position, and their compressed form."""

    members: Sequence[Meta]
    content: bytes

    @property
    def type_list(self) -> str:
        """The set of the profile types as one text."""
        return ",".join(sorted({meta.type for meta in self.members}))

    @property
    def document_id(self) -> str:
        """32 hex digits: equal if the same batch is stored again."""
        return sha256("".join(f"{meta.id} {meta.part}\n" for meta in self.members).encode()).hexdigest()[:32]


def group_entries(members: Iterable[Meta]) -> tuple[list[Meta], list[EntryGroup]]:
    """Return those of *members*, of one batch, that are entries of their own, and the others as groups."""
    alone: list[Meta] = []
    groups: list[EntryGroup] = []
    pending = [sorted(members, key=lambda meta: meta.position)]
    while pending:
        entries = pending.pop()
        group = EntryGroup(entries, dump_members(entries))
        if len(entries) == 1:
            alone += entries
        elif len(group.content) <= _MAX_BYTES and len(group.type_list) <= _MAX_TYPE_LIST_BYTES:
            groups.append(group)
        else:
            pending += [entries[: len(entries) // 2], entries[len(entries) // 2 :]]
    return alone, groups


def write_group(fields: Any, group: EntryGroup, stored_at: int) -> None:
    """Set *fields* of a document to those of a group of entries."""
    first = group.members[0]
    fields["service"].string_value = first.service
    fields["type_list"].string_value = group.type_list
    for name in group.type_list.split(","):
        fields["types"].array_value.values.add().string_value = name
    fields["first"].integer_value = first.created_at
    fields["members"].bytes_value = group.content
    fields["stored_at"].timestamp_value.seconds = stored_at


def read_group(document: Any) -> list[Meta]:
    """Return the entries of the group that :func:`write_group` wrote, ordered by position."""
    return load_members(document.fields["members"].bytes_value)


def find_members(calls: "Calls", selection: Selection, read_time: Any, oldest: float) -> Iterator[Meta]:
    """Yield the selected entries in groups, ordered by position, as of *read_time* if given.

    An entry that is in several groups comes several times. Groups stored before *oldest* have expired.
    """
    return merge_members(_find_groups(calls, selection, read_time, oldest))


def _find_groups(
    calls: "Calls", selection: Selection, read_time: Any, oldest: float
) -> Iterator[tuple[int, Iterator[Meta]]]:
    """Yield the time of the first entry of each group, in order, and those entries that are selected."""
    from storage_gcs.documents import read_document
    from storage_gcs.queries import select_groups

    start = max(selection.start, selection.after[0] if selection.after else 0)
    size, last = _FIRST_PAGE, None
    while True:
        request = select_groups(selection.service, selection.type, start - MAX_NANOS, selection.end, last, size)
        if read_time is not None:
            request.read_time.CopyFrom(read_time)
        documents = calls.query(request)
        for document in documents:
            if document.fields["stored_at"].timestamp_value.seconds >= oldest:
                members = filter(selection.selects, read_document(document, read_group))
                yield document.fields["first"].integer_value, members
        if len(documents) < size:
            return
        size, last = min(4 * size, _LARGEST_PAGE), documents[-1]


@dataclass(frozen=True, slots=True)
class IdRange:
    """A service, the profile type if it is one only, and a range of time that have profiles with some ids."""

    service: str
    type: ProfileType | None
    start: int
    end: int

    @classmethod
    def of(cls, ids: Iterable[str]) -> "list[IdRange]":
        """Return the ranges of those of *ids* that are ids of profiles."""
        by_service: dict[str, list[ProfileId]] = {}
        for text in ids:
            with suppress(Invalid):  # the id of a block
                profile_id = ProfileId.parse(text)
                by_service.setdefault(profile_id.service, []).append(profile_id)
        return [cls._of_service(service, profile_ids) for service, profile_ids in by_service.items()]

    @classmethod
    def _of_service(cls, service: str, profile_ids: Collection[ProfileId]) -> "IdRange":
        types = {profile_id.type for profile_id in profile_ids}
        times = [profile_id.created_at for profile_id in profile_ids]
        return cls(service, types.pop() if len(types) == 1 else None, min(times), max(times))

    def select(self) -> Any:
        """Return the query for the groups that may have entries in the range."""
        from storage_gcs.queries import select_groups

        return select_groups(self.service, self.type, self.start - MAX_NANOS, self.end)


def write_removals(request: Any, documents: Iterable[Any], ids: Collection[str]) -> set[str]:
    """Add to *request*, a commit, what removes the entries with *ids* from groups; return the ids found there."""
    from storage_gcs.documents import read_document

    removed: set[str] = set()
    for document in documents:
        members = read_document(document, read_group)
        kept = [meta for meta in members if meta.id not in ids]
        if len(kept) == len(members):
            continue
        removed |= {meta.id for meta in members} & set(ids)
        write = request.writes.add()
        write.current_document.exists = True
        if kept:
            write.update.name = document.name
            group = EntryGroup(kept, dump_members(kept))
            write_group(write.update.fields, group, document.fields["stored_at"].timestamp_value.seconds)
        else:
            write.delete = document.name
    return removed
