"""Steps that merges, merges by id and aggregates share: limits, sources, expired profiles, messages."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from profbucket.errors import Damaged, Invalid, NotFound, ProfbucketError, detach
from profbucket.limits import Limits
from profbucket.model.blocks import MERGED
from profbucket.model.ids import ProfileId, escape_service
from profbucket.model.merge_options import MergeOptions
from profbucket.model.meta import Query
from profbucket.storage.damage import DamageReport
from profbucket.storage.lookup import Lookup
from profbucket.storage.retry import retry_on_compaction
from profbucket.storage.sources import Source
from profbucket.times import format_time

if TYPE_CHECKING:
    from profbucket.pprof.merge import Merger

SERVICE_LABEL = "service"  # of samples, with the name of the service

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class MergeResult:
    """One gzip pprof, or file in another format, merged from ``merged`` of the ``found`` profiles.

    The objects of ``expired`` are gone. ``damaged`` were left out because of damage, some perhaps before they were
    found. ``meanings`` say in words how the values of each sample type came about: "average of 52 profiles".
    """

    data: bytes
    filename: str
    found: int
    merged: int
    expired: int
    damaged: int = 0
    meanings: Mapping[str, str] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """Return the numbers of profiles, as the API's JSON and the request log have them."""
        names = ("found", "merged", "expired", "damaged")
        return {name: getattr(self, name) for name in names}


class MergeGuard:
    """The limits on one merge. Time counts from its creation; *timer* returns seconds.

    Error messages begin with *subject*, what is merged, and end with *advice*, how to ask for less.
    """

    def __init__(self, limits: Limits, subject: str, advice: str, timer: Callable[[], float]) -> None:
        self._limits = limits
        self._subject = subject
        self._advice = advice
        self._timer = timer
        self._deadline = timer() + limits.merge_seconds

    def check_size(self, reads: int, profiles: int, size: int) -> None:
        """Raise ``TooMany`` for too many reads or bytes; *profiles* is how many profiles these hold."""
        if reads > self._limits.merge:
            raise self._limits.too_many(
                "merge", f"{self._subject} has more than {self._limits.merge} profiles to merge; {self._advice}"
            )
        if size > self._limits.merge_bytes:
            raise self._limits.too_many(
                "merge_bytes",
                f"{self._subject} has {size} bytes to merge in {profiles} profiles; {self._advice}",
            )

    def check_aggregate(self, profiles: int) -> None:
        """Raise ``TooMany`` for too many *profiles* that do not just add up."""
        if profiles > self._limits.aggregate:
            raise self._limits.too_many(
                "aggregate",
                f"{self._subject} has more than {self._limits.aggregate} profiles to aggregate; {self._advice}",
            )

    def until_deadline(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """Yield *items*; raise as :meth:`check_time` does."""
        for item in items:
            self.check_time()
            yield item

    def check_time(self, progress: str = "") -> None:
        """Raise ``TooMany`` after the deadline; *progress* says how far the merge got."""
        if self._timer() > self._deadline:
            raise self._limits.too_many(
                "merge_seconds", f"{self._subject}: the merge timed out{progress}; {self._advice}"
            )


class SourceMerge:
    """The merge of sources into *merger*, without those that have expired or are damaged.

    ``expired`` is the number of their profiles that have expired. *service_label* is as in :class:`MergeOptions`.
    """

    def __init__(
        self,
        merger: "Merger",
        lookup: Lookup,
        limits: Limits,
        damage: DamageReport,
        *,
        service_label: bool = False,
    ) -> None:
        self._merger = merger
        self._service_label = service_label
        self._lookup = lookup
        self._limits = limits
        self._damage = damage
        self._sources: dict[str, Source] = {}  # those of which an error may still be raised, by id
        self._unreadable: dict[str, ProfbucketError] = {}
        self.expired = 0

    def add(self, source: Source, data: bytes | Damaged | None) -> None:
        """Add the profiles of *source*, as :meth:`Lookup.read_sources` yields them.

        Raise ``Invalid`` if the sample types of one of the sources differ, ``TooLarge`` if one exceeds a limit.
        """
        if data is None:
            self.expired += source.count
        elif isinstance(data, Damaged):
            self._damage.add(source.id, data, source.count)
        else:
            self._sources[source.id] = source
            if source.rows:
                self._settle()  # so that an error is about this source
            try:
                add_source(self._merger, source, data, self._limits, service_label=self._service_label)
            except Invalid as error:
                self._note(error)

    def finish(self) -> None:
        """Merge what is still pending, and read unreadable blocks again. Raise as :meth:`add` does."""
        self._settle()
        unreadable = [self._sources[source_id] for source_id in self._unreadable]
        self._unreadable.clear()
        blocks = [source for source in unreadable if source.block]
        for source, data in zip(blocks, self._lookup.read_sources(blocks), strict=True):
            self.add(source, data)
        self._settle()
        for source in unreadable:
            if source.id in self._unreadable or source.meta:
                self._damage.add(source.id, self._unreadable.get(source.id, "is not a pprof"), source.count)

    def _settle(self) -> None:
        for error in self._merger.take_errors():
            self._note(error)

    def _note(self, error: ProfbucketError) -> None:
        """Note that a source is unreadable, or raise *error* if that is not damage."""
        source_id = str(error).partition(": ")[0]
        if source_id not in self._sources or error.code == "sample_types_differ" or not isinstance(error, Invalid):
            raise error
        self._unreadable[source_id] = detach(error)


def find_dropped_labels(options: MergeOptions, limits: Limits) -> tuple[str, ...]:
    """Return the keys of sample labels that a merge leaves out."""
    dropped = () if options.keep_labels else limits.dropped_labels
    return tuple(key for key in dropped if not (options.service_label and key == SERVICE_LABEL))


def add_source(
    merger: "Merger", source: Source, data: bytes, limits: Limits, *, service_label: bool = False
) -> None:
    """Add the profiles of *source*, whose bytes are *data*, to *merger*; errors begin with its id."""
    label = (SERVICE_LABEL, source.service) if service_label else None
    if source.block is None:
        merger.add(data, source.id, label=label)
    elif source.part == MERGED:
        merger.add(data, source.id, limits.of_blocks(), label)
    else:
        from profbucket.pprof.block.content import BlockContent, add_rows

        try:
            add_rows(merger, BlockContent(source.block, data, limits), source.part, source.rows, label)
        except ProfbucketError as error:
            raise error.about(source.id) from None


@retry_on_compaction
def add_from_block(
    merger: "Merger", lookup: Lookup, profile_id: ProfileId, limits: Limits, *, service_label: bool = False
) -> None:
    """Add a profile that has expired from the block that holds it, or raise ``NotFound`` or ``Damaged``."""
    if source := lookup.find_in_block(profile_id):
        damage = DamageReport()
        merge = SourceMerge(merger, lookup, limits, damage, service_label=service_label)
        [data] = lookup.read_sources([source])
        merge.add(source, data)
        merge.finish()
        if damage.ids:
            raise damage.error()
        if not merge.expired:
            return
    raise profile_not_found(profile_id)


def profile_not_found(profile_id: ProfileId) -> NotFound:
    """Return the error for a profile that does not exist."""
    return NotFound(f"no profile {profile_id}: it never existed, or has expired")


def describe_losses(expired: int, damaged: int) -> str:
    """Return the end of a merge's comment: the number of profiles that it lacks, or ``""``."""
    expired_text = f", {expired} had expired" if expired else ""
    return expired_text + (f", {damaged} left out because stored data is damaged" if damaged else "")


def nothing_found(query: Query) -> NotFound:
    """Return the error for a query without matches."""
    narrowing = "drop labels" if query.matchers else "check the names of service and type"
    return NotFound(f"nothing found: {describe_query(query)} has no profiles; widen the range or {narrowing}")


def describe_selectors(query: Query) -> str:
    """Return *query* as a text without its range: ``service=api type=cpu version=1``."""
    labels = "".join(f" {matcher.key}{matcher.operator}{matcher.value}" for matcher in query.matchers)
    profile_type = f" type={query.type}" if query.type else ""
    return f"service={query.service}{profile_type}{labels}"


def describe_services(query: Query, services: Collection[str]) -> str:
    """Return how many *services* have profiles, as a part of a merge's comment; ``""`` if *query* names one."""
    return f" of {len(services)} service{'s' if len(services) > 1 else ''}" if query.services else ""


def name_file(query: Query) -> str:
    """Return the name of a file that holds the result of *query*, without a suffix."""
    return f"{'services' if query.services else escape_service(query.service)}-{query.type}"


def describe_query(query: Query) -> str:
    """Return *query* as a text with its range."""
    return f"{describe_selectors(query)} from {format_time(query.start)} to {format_time(query.end)}"
