"""Many profiles become one."""

from collections.abc import Iterable, Sequence

from profbucket.errors import Invalid, ProfbucketError
from profbucket.limits import Limits
from profbucket.pprof.batch import Batch
from profbucket.pprof.pool import Pool
from profbucket.pprof.reader import Pending, named, read, split, split_plainly
from profbucket.pprof.result import encode
from profbucket.pprof.wire import deflate, inflate

# Bytes of inflated profiles that are read at once: large enough that numpy's cost per call does not count, small
# enough that a batch's columns, some twenty times as large, stay near the processor.
_BATCH = 2 << 20


class Merger:
    """Profiles added one by one; memory follows the distinct stacks and not the number of profiles.

    The contract is google/pprof's (``profile/merge.go``): sample types and period type must agree; equal
    functions, locations and stacks become one, samples whose labels differ stay apart, samples that add up to
    zero in all values disappear. A mapping is the same by build id or file, by size in pages and by offset, and an
    address counts relative to it. The period is the largest, the time the earliest that is not zero, the
    duration the sum; comments are united. ``drop_frames``, ``keep_frames``, ``default_sample_type`` and
    ``doc_url`` are the first that are set. Values add up in 64 bits and wrap, as they do in Go.

    The order of profiles decides about those four and about the order of comments, and about nothing else.
    """

    def __init__(self, limits: Limits = Limits()) -> None:
        self._limits = limits
        self._pool = Pool()
        self._added = 0
        self._pending: list[Pending] = []
        self._pending_bytes = 0
        self._errors: list[ProfbucketError] = []

    def add(self, data: bytes, name: str = "") -> None:
        """Add one pprof, gzip or raw; *name* stands for it in the text of errors.

        Raise ``Invalid`` or ``TooLarge`` where it is none, where it is over a cap, or where its sample types
        are not those of the profiles before; the text names both. Profiles are read in batches, so the error
        may be about one that was added before. Whichever the error names is left out, and all others are in.
        """
        self._added += 1
        name = name or f"profile {self._added}"
        try:
            profile = Pending(name, inflate(data, self._limits))
        except ProfbucketError as error:
            raise named(error, name) from None
        split(profile, self._pool.strings, self._limits)
        self._pending.append(profile)
        self._pending_bytes += len(profile.raw)
        if self._pending_bytes >= _BATCH:
            self._merge_pending()
        if self._errors:
            raise self._errors.pop(0)

    def sample_types(self) -> list[str]:
        """What the profiles so far measure, as in ``alloc_space``; nothing where there is none."""
        self._merge_pending()
        kinds = self._pool.types[0] if self._pool.types else ()
        return [self._pool.name(kind).decode(errors="replace") for kind, _ in kinds]

    def result(self, comments: Sequence[str] = ()) -> bytes:
        """The merge as a gzip pprof, with *comments* before those of the profiles.

        Raise ``Invalid`` where nothing was added, and as :meth:`add` does.
        """
        self._merge_pending()
        if self._errors:
            raise self._errors.pop(0)
        if self._pool.types is None:
            raise Invalid("nothing to merge")
        return deflate(encode(self._pool, [comment.encode() for comment in comments]))

    def _merge_pending(self) -> None:
        profiles, self._pending, self._pending_bytes = self._pending, [], 0
        batch, profiles = read(profiles, self._pool.strings, self._limits, self._errors)
        while batch and (alien := self._alien(batch, profiles)):
            profiles = [p for i, p in enumerate(profiles) if i not in alien]
            batch, profiles = read(profiles, self._pool.strings, self._limits, self._errors)
        if batch:
            self._pool.add(batch)

    def _alien(self, batch: Batch, profiles: Sequence[Pending]) -> set[int]:
        """The numbers of the profiles that measure something else than those before them, errors noted."""
        wanted = self._pool.types
        refused = set()
        for i, (types, profile) in enumerate(zip(batch.signatures(), profiles, strict=True)):
            if wanted is None:
                # What is checked of types by themselves is checked once: those of all others are equal.
                try:
                    if not profile.checked:
                        split_plainly(profile, self._pool.strings, self._limits)
                except ProfbucketError as error:
                    self._errors.append(error)
                    refused.add(i)
                    continue
                wanted = types
            if types is not wanted and types != wanted:
                refused.add(i)
                self._errors.append(Invalid(f"{profile.name}: {self._pool.differ(wanted, types)}"))
        return refused


def merge(profiles: Iterable[bytes], comments: Sequence[str] = (), limits: Limits = Limits()) -> bytes:
    """Merge *profiles*, gzip or raw, into one gzip pprof; see :class:`Merger`."""
    merger = Merger(limits)
    for data in profiles:
        merger.add(data)
    return merger.result(comments)
