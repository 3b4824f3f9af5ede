"""Apply pprof's refinements to a profile, with the results of `go tool pprof -proto` with the same options."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from profbucket.limits import Limits
from profbucket.model.refinement import Refinement
from profbucket.pprof import profile_pb2
from profbucket.pprof.report.function_names import format_function_names, intern_strings
from profbucket.pprof.report.prune import prune_message
from profbucket.pprof.report.regex_match import NamePattern
from profbucket.pprof.report.sample_labels import find_units, read_labels
from profbucket.pprof.report.tag_filter import TagFilter
from profbucket.pprof.report.tag_frames import TagFrames

_SAMPLES_PER_CHECK = 10_000  # of the deadline


class Refiner:
    """Applies *refinement* to profiles. *check_time* is called now and then, and may raise an error.

    Raise ``Invalid`` for a regular expression or range that is malformed (codes ``invalid_regex``,
    ``invalid_parameter``).
    """

    def __init__(self, refinement: Refinement, check_time: Callable[[], None] = lambda: None) -> None:
        def matcher(pattern: str) -> NamePattern | None:
            return NamePattern(pattern, check_time) if pattern else None

        def tag_filter(name: str, text: str) -> TagFilter | None:
            return TagFilter(name, text, check_time) if text else None

        self.refinement = refinement
        self._focus, self._ignore = matcher(refinement.focus), matcher(refinement.ignore)
        self._hide, self._show = matcher(refinement.hide), matcher(refinement.show)
        self._show_from = matcher(refinement.show_from)
        self._tagfocus = tag_filter("tagfocus", refinement.tagfocus)
        self._tagignore = tag_filter("tagignore", refinement.tagignore)
        self._tagroot = list(filter(None, refinement.tagroot.split(",")))
        self._tagleaf = list(filter(None, refinement.tagleaf.split(",")))
        self._check_time = check_time

    def apply(self, message: profile_pb2.Profile, limits: Limits = Limits()) -> None:
        """Refine *message*, a valid profile, in place; what is no longer used stays in its tables.

        Frames that the profile asks to drop are removed first, as when pprof reads it; it then asks for none.
        Raise ``Invalid`` if there are more than ``limits.labels`` keys of tags, and ``TooMany`` if their frames
        take more memory than ``limits.merge_memory_bytes``.
        """
        prune_message(message)
        strings = intern_strings(message)
        units = find_units(message, strings) if self._tagfocus or self._tagignore else {}
        self._check_time()
        if self._tagroot or self._tagleaf:
            TagFrames(self._tagroot, self._tagleaf, limits).add_to(message, strings)
            strings = intern_strings(message)
            self._check_time()
        rules = self._match_locations(message, strings)
        self._check_time()
        count = 0
        for number, sample in enumerate(message.sample):
            if number % _SAMPLES_PER_CHECK == 0:
                self._check_time()
            stack = rules.select(sample.location_id)
            if stack is None or not self._has_labels(sample, strings, units):
                continue
            if len(stack) < len(sample.location_id):
                sample.location_id[:] = stack
            if count < number:
                message.sample[count].CopyFrom(sample)
            count += 1
        del message.sample[count:]

    def _match_locations(self, message: profile_pb2.Profile, strings: Sequence[bytes]) -> "_StackRules":
        """Remove lines from the locations of *message*, and return what to do with stacks of these locations.

        A location that is hidden still counts for ``focus`` and ``ignore``.
        """
        names = _Names(message, strings)
        rules = _StackRules(
            is_filtered=any((self._focus, self._ignore, self._hide, self._show)),
            focused=set() if self._focus else None,
            starts=set() if self._show_from else None,
        )
        for location in message.location:
            binary = names.find_binary(location)
            if self._ignore and names.matches(location.line, binary, self._ignore):
                rules.ignored.add(location.id)
            elif rules.focused is not None and self._focus and names.matches(location.line, binary, self._focus):
                rules.focused.add(location.id)
            lines: Sequence[profile_pb2.Line] = location.line
            if (hide := self._hide) and names.matches(lines, binary, hide):
                is_whole = binary is not None and hide(binary)
                lines = [line for line in lines if not (is_whole or names.matches_line(line, hide))]
                if not lines:
                    rules.hidden.add(location.id)
            if show := self._show:
                if binary is None or not show(binary):
                    lines = [line for line in lines if names.matches_line(line, show)]
                if not lines:
                    rules.hidden.add(location.id)
            if rules.starts is not None and self._show_from:
                count = names.count_lines_from(lines, binary, self._show_from)
                if count is not None:
                    rules.starts.add(location.id)
                    lines = lines[:count]
            if len(lines) < len(location.line):
                kept = list(lines)
                del location.line[:]
                location.line.extend(kept)
        return rules

    def _has_labels(
        self, sample: profile_pb2.Sample, strings: Sequence[bytes], units: Mapping[bytes, bytes]
    ) -> bool:
        if self._tagfocus is None and self._tagignore is None:
            return True
        labels = read_labels(sample, strings)
        return (self._tagfocus is None or self._tagfocus.matches(labels, units)) and (
            self._tagignore is None or not self._tagignore.matches(labels, units)
        )


class _Names:
    """The names and files of the functions of *message*, and the paths of its binaries."""

    def __init__(self, message: profile_pb2.Profile, strings: Sequence[bytes]) -> None:
        self._names = format_function_names(message, strings)
        self._files = {function.id: strings[function.filename] for function in message.function}
        self._binaries = {mapping.id: strings[mapping.filename] for mapping in message.mapping}
        # pprof gives all locations a mapping without a name if there is no mapping at all.
        self._no_binary = None if message.mapping else b""

    def find_binary(self, location: profile_pb2.Location) -> bytes | None:
        return self._binaries.get(location.mapping_id, self._no_binary)

    def matches(self, lines: Iterable[profile_pb2.Line], binary: bytes | None, matcher: NamePattern) -> bool:
        """Return whether the name or file of a function in *lines* matches, or the path of the *binary*."""
        return any(self.matches_line(line, matcher) for line in lines) or (binary is not None and matcher(binary))

    def matches_line(self, line: profile_pb2.Line, matcher: NamePattern) -> bool:
        return matcher(self._names[line.function_id]) or matcher(self._files[line.function_id])

    def count_lines_from(
        self, lines: Sequence[profile_pb2.Line], binary: bytes | None, matcher: NamePattern
    ) -> int | None:
        """Return how many *lines*, innermost first, are left from the outermost one that matches.

        All are if the *binary* matches; it is ``None`` if nothing does.
        """
        if binary is not None and matcher(binary):
            return len(lines)
        return max(
            (number for number, line in enumerate(lines, 1) if self.matches_line(line, matcher)), default=None
        )


@dataclass(slots=True)
class _StackRules:
    """Rules for stacks and their locations, by the ids of locations.

    If ``is_filtered``, a stack needs a location in ``focused``, or any at all if that is ``None``, and none in
    ``ignored``. With ``starts``, it ends at the outermost location of these, and needs one.
    """

    is_filtered: bool
    focused: set[int] | None
    starts: set[int] | None
    ignored: set[int] = field(default_factory=set)
    hidden: set[int] = field(default_factory=set)

    def select(self, stack: Sequence[int]) -> Sequence[int] | None:
        """Return what is left of *stack*, innermost first; ``None`` if its sample is removed."""
        if self.is_filtered:
            is_focused = bool(stack) if self.focused is None else not self.focused.isdisjoint(stack)
            if not is_focused or not self.ignored.isdisjoint(stack):
                return None
            if not self.hidden.isdisjoint(stack):
                stack = [location for location in stack if location not in self.hidden]
                if not stack:
                    return None
        if self.starts is None:
            return stack
        outermost = next((at for at in range(len(stack) - 1, -1, -1) if stack[at] in self.starts), None)
        return None if outermost is None else stack[: outermost + 1]
