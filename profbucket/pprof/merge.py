"""Merge many profiles into one."""

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property

from profbucket.errors import Invalid, ProfbucketError, detach
from profbucket.limits import Limits
from profbucket.pprof.columnar.accumulator import Accumulator
from profbucket.pprof.columnar.arrays import Ints
from profbucket.pprof.columnar.batch import Batch, FrameRules, Signature
from profbucket.pprof.columnar.encode import encode_merge
from profbucket.pprof.columnar.pending_profile import PendingProfile
from profbucket.pprof.columnar.read_batch import read_batch
from profbucket.pprof.columnar.string_table import StringTable
from profbucket.pprof.compression import deflate, inflate
from profbucket.pprof.sample_type_sets import SampleTypeSets

# Inflated bytes that are read at once: large enough that numpy's cost per call does not count, small enough that a
# batch's columns, some twenty times as large, stay near the processor.
_BATCH_BYTES = 4 << 20

# Called for each batch, with the names of its profiles and what ``Accumulator.add`` returned.
BatchObserver = Callable[[Batch, Sequence[str], Ints], None]


class Merger:
    """Merges profiles that are added one by one; memory follows the distinct stacks, not the number of profiles.

    The contract is that of ``go tool pprof`` for its files, and so google/pprof's (``profile/merge.go``). Profiles
    are merged by the sample types that they have in common, in the finest unit; see :class:`CommonTypes`. Equal
    functions, locations and stacks are merged; samples whose labels differ are kept apart; samples that add up to
    zero in all values are dropped. Mappings are equal if build id (or else file), size in pages and offset are,
    and addresses count relative to their mapping. The result has the largest period, the earliest time that is not
    zero, the sum of the durations, and all distinct comments. ``default_sample_type`` and ``doc_url`` are those of
    the first profile that sets them. Values are added in 64 bits and wrap, as in Go. If all profiles have the same
    ``drop_frames`` and ``keep_frames``, so has the result; otherwise those of each profile are applied to it.

    The order of profiles decides these two strings, the order of comments, that of sample types and the spelling
    of units, such as ``ns`` or ``nanoseconds``, and nothing else.

    With *sample_type*, its values alone are merged, of the profiles that have it. Labels of samples whose keys are
    *dropped_labels* are left out; samples that become equal are added up. *observer* is called after each
    batch; it requires that the sample types, the period type and the frames to drop of all profiles agree.
    :attr:`accumulator` then holds all that was merged so far.
    """

    def __init__(
        self,
        limits: Limits = Limits(),
        observer: BatchObserver | None = None,
        sample_type: str | None = None,
        dropped_labels: Collection[str] = (),
    ) -> None:
        self._limits = limits
        self._observer = observer
        self._sample_type = sample_type
        self.accumulator = Accumulator(sample_type, dropped_labels)
        self._groups: dict[FrameRules, Accumulator] = {}  # of the profiles that ask to drop the same frames
        self._type_sets = SampleTypeSets()
        self._added = 0
        self._pending: list[PendingProfile] = []
        self._pending_bytes = 0
        self._errors: list[ProfbucketError] = []

    def add(
        self,
        data: bytes,
        name: str = "",
        limits: Limits | None = None,
        label: tuple[str, str] | None = None,
    ) -> None:
        """Add one pprof, gzip or raw; errors call it *name*. *limits* are by default those of the merge.

        All its samples get the *label*, key and value, in the place of own labels with this key.

        Profiles are read in batches, so an error may be about one that was added earlier. The profile that the
        error names is left out, and all others are merged.

        Raises:
            Invalid: a profile is invalid, as in ``decode``, or it has no sample type in common with the profiles
                before it (code ``sample_types_differ``); the text names those of both.
            TooLarge: a profile exceeds a limit.
        """
        self._added += 1
        name = name or f"profile {self._added}"
        try:
            profile = PendingProfile(name, inflate(data, limits or self._limits), limits=limits)
        except ProfbucketError as error:
            raise error.about(name) from None
        self._split_profile(profile, self.accumulator.strings, limits or self._limits)
        profile.added_label = self.accumulator.intern_label(label)
        self._pending.append(profile)
        self._pending_bytes += len(profile.raw)
        if self._pending_bytes >= _BATCH_BYTES:
            self.flush()
        self._raise_error()

    @cached_property
    def _split_profile(self) -> Callable[[PendingProfile, StringTable, Limits], None]:
        # Imported on use: merging profiles that another process has split needs no protobuf.
        from profbucket.pprof.columnar.split import split_profile

        return split_profile

    def add_split(self, profiles: list[PendingProfile], new_strings: Sequence[bytes]) -> None:
        """Add *profiles* that another process has split; it met *new_strings* for the first time, in this order.

        Raise as :meth:`add` does.
        """
        self.accumulator.strings.intern_all(new_strings)
        self._pending = profiles
        self.flush()
        self._raise_error()

    def add_batch(self, batch: Batch, name: str, *, keep_zeros: bool = False) -> Ints:
        """Add a *batch* of one profile, read with the accumulator's strings; errors call it *name*.

        Return what :meth:`Accumulator.add` does, or nothing if the profile lacks the sample type. Raise as
        :meth:`add` does. With *keep_zeros*, all sample types must agree.
        """
        self.flush()
        profiles = [PendingProfile(name, b"", is_validated=True)]
        if self._find_mismatches(batch, profiles, is_strict=keep_zeros):
            self._raise_error()
            return batch.samples.profile[:0]
        self._add_types(batch, profiles)
        accumulator = self.accumulator if keep_zeros else self._select_group(batch.header.frame_rules()[0])
        indexes = accumulator.add(batch, keep_zeros=keep_zeros)
        self._check_memory()
        return indexes

    def sample_types(self) -> list[str]:
        """Return the names of the sample types merged so far, such as ``alloc_space``."""
        self.flush()
        signature = self.accumulator.signature
        return self._list_names(signature) if signature else []

    def value_types(self) -> list[tuple[str, str]]:
        """Return the names and units of the sample types merged so far."""
        self.flush()
        signature = self.accumulator.signature
        units = (
            [self.accumulator.string(unit).decode(errors="replace") for _, unit in signature[0]]
            if signature
            else []
        )
        return list(zip(self._list_names(signature) if signature else [], units, strict=True))

    def describe_left_out(self) -> str:
        """Return the end of a comment that says which sample types and labels are left out, and why, or ``""``."""
        names, wanted = self.sample_types(), self._sample_type
        types = self._type_sets.describe(names) if wanted is None else self._type_sets.describe_lacking(wanted)
        return types + describe_dropped(self.accumulator.dropped)

    @property
    def has_mixed_frame_rules(self) -> bool:
        """True if profiles ask to drop different frames."""
        return len(self._groups) > 1

    def result(self, comments: Sequence[str] = ()) -> bytes:
        """Return the merge as a gzip pprof, with *comments* before those of the profiles.

        Raise as :meth:`encode` does.
        """
        return deflate(self.encode(comments))

    def encode(self, comments: Sequence[str] = ()) -> bytes:
        """Return the result without compression.

        Raise ``Invalid`` if no profile was added (code ``nothing_to_merge``), or none with the sample type (code
        ``unknown_sample_type``), and as :meth:`add` does.
        """
        self.flush()
        self._raise_error()
        if self.accumulator.signature is None:
            if self._sample_type is not None and (names := self._type_sets.sample_types()):
                raise unknown_sample_type(self._sample_type, names)
            raise Invalid("nothing to merge: no profile was added", code="nothing_to_merge")
        return encode_merge(self._unite_groups(), [comment.encode() for comment in comments])

    def flush(self) -> None:
        """Merge the profiles that wait for their batch to fill. Errors are kept for the next call that raises."""
        profiles, self._pending, self._pending_bytes = self._pending, [], 0
        batch, profiles = read_batch(profiles, self.accumulator.strings, self._limits, self._errors)
        is_strict = self._observer is not None
        while batch and (mismatches := self._find_mismatches(batch, profiles, is_strict=is_strict)):
            profiles = [profile for i, profile in enumerate(profiles) if i not in mismatches]
            batch, profiles = read_batch(profiles, self.accumulator.strings, self._limits, self._errors)
        if batch:
            self._add_types(batch, profiles)
            self._accumulate(batch, profiles)
            self._check_memory()

    def _accumulate(self, batch: Batch, profiles: list[PendingProfile]) -> None:
        """Add *batch* to the groups of its *profiles*."""
        rules = batch.header.frame_rules()
        if len(distinct := dict.fromkeys(rules)) == 1:
            indexes = self._select_group(rules[0]).add(batch)
            if self._observer:
                self._observer(batch, [profile.name for profile in profiles], indexes)
            return
        self.accumulator.add_header_strings(batch.header)
        for group in distinct:
            members = [profile for profile, own in zip(profiles, rules, strict=True) if own == group]
            part, _ = read_batch(members, self.accumulator.strings, self._limits, self._errors)
            if part:
                self._select_group(group).add(part)

    def _select_group(self, rules: FrameRules) -> Accumulator:
        if rules not in self._groups:
            if len(self._groups) >= self._limits.frame_rules:
                raise self._limits.too_many(
                    "frame_rules", "the profiles of the merge have too many different drop_frames and keep_frames"
                )
            self._groups[rules] = self.accumulator.fork() if self._groups else self.accumulator
        return self._groups[rules]

    def _unite_groups(self) -> Accumulator:
        """Return the whole content; if there are several groups, without the frames that each asks to drop."""
        common = self.accumulator.signature
        if common is None or len(self._groups) < 2:
            return self.accumulator
        from profbucket.pprof.report.prune import drop_frames

        whole = Merger(self._limits.of_blocks())  # the content is within the limits of this merge
        for accumulator in self._groups.values():
            accumulator.project(common)
            whole.add(drop_frames(encode_merge(accumulator, [])))
        whole.flush()
        whole._raise_error()
        return whole.accumulator

    def take_errors(self) -> list[ProfbucketError]:
        """Merge what is pending; return, instead of raising, the errors of the profiles that were left out."""
        self.flush()
        errors, self._errors = self._errors, []
        return errors

    def estimate_bytes(self) -> int:
        """Return about how much memory the distinct content takes."""
        return sum(group.estimate_bytes() for group in self._groups.values() or [self.accumulator])

    def _check_memory(self) -> None:
        """Raise ``TooMany`` if the distinct content takes too much memory, however small it was when stored."""
        if self._observer:  # the builder of a block, which has limits of its own
            return
        estimate = self.estimate_bytes()
        if estimate > self._limits.merge_memory_bytes:
            raise self._limits.too_many(
                "merge_memory_bytes",
                f"the distinct stacks and strings of the merge take {estimate} bytes; choose a shorter range, or"
                " select by labels",
            )

    def _raise_error(self) -> None:
        if self._errors:
            raise self._errors.pop(0)

    def _find_mismatches(self, batch: Batch, profiles: Sequence[PendingProfile], *, is_strict: bool) -> set[int]:
        """Return the numbers of the profiles that cannot be merged with those before; keep their errors.

        Those without the sample type to merge are counted, and have no error.
        """
        accumulator = self.accumulator
        signatures, index = batch.header.signatures()
        common, accepted = accumulator.signature, None
        rules = next(iter(self._groups), None)
        mismatches = set()
        for i, (number, own_rules) in enumerate(zip(index.tolist(), batch.header.frame_rules(), strict=True)):
            has_equal_rules = not self._observer or rules is None or own_rules == rules
            if number == accepted and has_equal_rules:
                continue
            signature, profile = signatures[number], profiles[i]
            try:
                self._check_limits(profile, signature)
                if not accumulator.types.has_selected(signature):
                    self._type_sets.add(self._list_names(signature), profile.name)
                    mismatches.add(i)
                    continue
                narrowed = accumulator.types.narrow(common, signature)
                if narrowed is None or (is_strict and common is not None and signature != common):
                    difference = accumulator.describe_difference(common or signature, signature)
                    raise Invalid(f"{profile.name}: {difference}", code="sample_types_differ")
                if not has_equal_rules:
                    raise Invalid(f"{profile.name}: the frames to drop differ", code="sample_types_differ")
            except ProfbucketError as error:
                self._errors.append(detach(error))  # which would hold the whole batch
                mismatches.add(i)
            else:
                common, accepted, rules = narrowed, number, rules or own_rules
        return mismatches

    def _check_limits(self, profile: PendingProfile, signature: Signature) -> None:
        """Raise ``TooLarge`` if *profile* has too many sample types or too long names of them."""
        if not profile.is_validated and self._may_exceed_limits(signature):
            from profbucket.pprof.columnar.split import split_validated

            split_validated(profile, self.accumulator.strings, profile.limits or self._limits)

    def _add_types(self, batch: Batch, profiles: Sequence[PendingProfile]) -> None:
        """Count the *profiles* of *batch* by their sample types, and narrow those of the merge to them.

        The first group has the sample types of the whole merge: the order of all profiles decides how units are
        spelled, not that of the groups.
        """
        signatures, index = batch.header.signatures()
        self.accumulator.narrow(signatures)
        for number, signature in enumerate(signatures):
            rows = (index == number).nonzero()[0]
            self._type_sets.add(self._list_names(signature), profiles[rows[0]].name, len(rows))

    def _list_names(self, signature: Signature) -> list[str]:
        return [self.accumulator.string(name).decode(errors="replace") for name, _ in signature[0]]

    def _may_exceed_limits(self, signature: Signature) -> bool:
        """Return whether there may be too many sample types, or too long names."""
        sample_types = signature[0]
        size = sum(len(self.accumulator.string(index)) for pair in sample_types for index in pair)
        # Bytes that are not UTF-8 take up to three times as many when they are replaced.
        return len(sample_types) > self._limits.sample_types or 3 * size > self._limits.name_bytes


def describe_dropped(labels: Iterable[str]) -> str:
    """Return the end of a comment that says which *labels* of samples are left out, or ``""``."""
    names = ", ".join(sorted(labels))
    return f"; left out: the labels {names} of samples" if names else ""


def merge(profiles: Iterable[bytes], comments: Sequence[str] = (), limits: Limits = Limits()) -> bytes:
    """Merge *profiles*, gzip or raw, into one gzip pprof; see :class:`Merger`."""
    merger = Merger(limits)
    for data in profiles:
        merger.add(data)
    return merger.result(comments)


def unknown_sample_type(wanted: str, names: Iterable[str]) -> Invalid:
    """Return the error for a sample type that none of the merged profiles has; they have *names*."""
    return Invalid(
        f"no sample type {wanted[:80]!r}: the profiles have {', '.join(names)[:1000]}", code="unknown_sample_type"
    )
