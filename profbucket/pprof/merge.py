"""Many profiles become one."""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

from profbucket.errors import Invalid, ProfbucketError
from profbucket.limits import NAME_BYTES, Limits
from profbucket.pprof.columnar.accumulator import Accumulator
from profbucket.pprof.columnar.arrays import Ints
from profbucket.pprof.columnar.batch import Batch, Types
from profbucket.pprof.columnar.encode import encode
from profbucket.pprof.columnar.pending import Pending, Strings
from profbucket.pprof.columnar.read_batch import read
from profbucket.pprof.compression import deflate, inflate

# Bytes of inflated profiles that are read at once: large enough that numpy's cost per call does not count, small
# enough that a batch's columns, some twenty times as large, stay near the processor.
_BATCH = 4 << 20

# Called for each batch, with the names of its profiles, and with what its samples have become (see Pool.add).
Observe = Callable[[Batch, Sequence[str], Ints], None]


class Merger:
    """Profiles added one by one; memory follows the distinct stacks and not the number of profiles.

    The contract is google/pprof's (``profile/merge.go``): sample types and period type must agree; equal
    functions, locations and stacks become one, samples whose labels differ stay apart, samples that add up to
    zero in all values disappear. A mapping is the same by build id or file, by size in pages and by offset, and an
    address counts relative to it. The period is the largest, the time the earliest that is not zero, the
    duration the sum; comments are united. ``drop_frames``, ``keep_frames``, ``default_sample_type`` and
    ``doc_url`` are the first that are set. Values add up in 64 bits and wrap, as they do in Go.

    The order of profiles decides about those four and about the order of comments, and about nothing else.

    *observe* sees what becomes of each sample; :attr:`pool` is what there is so far.
    """

    def __init__(self, limits: Limits = Limits(), observe: Observe | None = None) -> None:
        self._limits = limits
        self._observe = observe
        self.pool = Accumulator()
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
            raise error.about(name) from None
        self._split(profile, self.pool.strings, self._limits)
        self._pending.append(profile)
        self._pending_bytes += len(profile.raw)
        if self._pending_bytes >= _BATCH:
            self.flush()
        if self._errors:
            raise self._errors.pop(0)

    @cached_property
    def _split(self) -> Callable[[Pending, Strings, Limits], None]:
        # Imported where it is used, because what was split elsewhere is merged without protobuf.
        from profbucket.pprof.columnar.split import split

        return split

    def add_split(self, profiles: list[Pending], strings: Sequence[bytes]) -> None:
        """Add profiles that were split elsewhere; *strings* are those that were met for the first time there.

        Raise as :meth:`add` does, though without what only the profile as it came would tell.
        """
        self.pool.strings.numbers(strings)
        self._pending = profiles
        self.flush()
        if self._errors:
            raise self._errors.pop(0)

    def sample_types(self) -> list[str]:
        """What the profiles so far measure, as in ``alloc_space``; nothing where there is none."""
        self.flush()
        kinds = self.pool.types[0] if self.pool.types else ()
        return [self.pool.name(kind).decode(errors="replace") for kind, _ in kinds]

    def result(self, comments: Sequence[str] = ()) -> bytes:
        """The merge as a gzip pprof, with *comments* before those of the profiles.

        Raise ``Invalid`` where nothing was added, and as :meth:`add` does.
        """
        self.flush()
        if self._errors:
            raise self._errors.pop(0)
        if self.pool.types is None:
            raise Invalid("nothing to merge")
        return deflate(encode(self.pool, [comment.encode() for comment in comments]))

    def add_batch(self, batch: Batch, name: str, *, every: bool = False) -> Ints:
        """Add a *batch* of one profile that was read with this pool's strings; raise as :meth:`add` does.

        Return what its samples have become, as :meth:`Accumulator.add` does.
        """
        self.flush()
        self._alien(batch, [Pending(name, b"", checked=True)])
        if self._errors:
            raise self._errors.pop(0)
        return self.pool.add(batch, every=every)

    def flush(self) -> None:
        """Merge what was added and still waits for its batch."""
        profiles, self._pending, self._pending_bytes = self._pending, [], 0
        batch, profiles = read(profiles, self.pool.strings, self._limits, self._errors)
        while batch and (alien := self._alien(batch, profiles)):
            profiles = [p for i, p in enumerate(profiles) if i not in alien]
            batch, profiles = read(profiles, self.pool.strings, self._limits, self._errors)
        if batch:
            numbers = self.pool.add(batch)
            if self._observe:
                self._observe(batch, [profile.name for profile in profiles], numbers)

    def _alien(self, batch: Batch, profiles: Sequence[Pending]) -> set[int]:
        """The numbers of the profiles that measure something else than those before them, errors noted."""
        wanted = self.pool.types
        refused = set()
        for i, (types, profile) in enumerate(zip(batch.signatures(), profiles, strict=True)):
            if wanted is None:
                # What is checked of types by themselves is checked once: those of all others are equal.
                try:
                    if not profile.checked and self._doubtful(types):
                        from profbucket.pprof.columnar.split import split_plainly

                        split_plainly(profile, self.pool.strings, self._limits)
                except ProfbucketError as error:
                    self._errors.append(error)
                    refused.add(i)
                    continue
                wanted = types
            if types is not wanted and types != wanted:
                refused.add(i)
                self._errors.append(Invalid(f"{profile.name}: {self.pool.differ(wanted, types)}"))
        return refused

    def _doubtful(self, types: Types) -> bool:
        """Whether there may be too many sample types, or too long ones."""
        kinds = types[0]
        size = sum(len(self.pool.name(text)) for kind in kinds for text in kind)
        # What is no text becomes up to three times as long.
        return len(kinds) > self._limits.sample_types or 3 * size > NAME_BYTES


def merge(profiles: Iterable[bytes], comments: Sequence[str] = (), limits: Limits = Limits()) -> bytes:
    """Merge *profiles*, gzip or raw, into one gzip pprof; see :class:`Merger`."""
    merger = Merger(limits)
    for data in profiles:
        merger.add(data)
    return merger.result(comments)
