"""Apply pprof's refinements to a profile, with the results of `go tool pprof -proto` with the same options."""

from collections.abc import Callable, Mapping, Sequence

from profbucket.limits import Limits
from profbucket.model.refinement import Refinement
from profbucket.pprof import profile_pb2
from profbucket.pprof.report.function_names import format_function_names, intern_strings
from profbucket.pprof.report.prune import prune_message
from profbucket.pprof.report.regex_match import Matcher
from profbucket.pprof.report.sample_labels import SampleLabels, find_units, read_labels
from profbucket.pprof.report.tag_filter import TagFilter
from profbucket.pprof.report.tag_frames import TagFrames

_Stacks = list[list[int] | None]  # the locations of each sample, innermost first; None if it is removed


class Refiner:
    """Applies *refinement* to profiles. *check_time* is called now and then, and may raise an error.

    Raise ``Invalid`` for a regular expression or range that is malformed (codes ``invalid_regex``,
    ``invalid_parameter``).
    """

    def __init__(self, refinement: Refinement, check_time: Callable[[], None] = lambda: None) -> None:
        def matcher(pattern: str) -> Matcher | None:
            return Matcher(pattern, check_time) if pattern else None

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
        Raise ``TooMany`` if frames of tags take more memory than ``limits.merge_memory_bytes``.
        """
        prune_message(message)
        strings = intern_strings(message)
        units = find_units(message, strings) if self._tagfocus or self._tagignore else {}
        self._check_time()
        if self._tagroot or self._tagleaf:
            TagFrames(self._tagroot, self._tagleaf, limits).add_to(message, strings)
            strings = intern_strings(message)
            self._check_time()
        table = _Table(message, strings)
        stacks: _Stacks = [list(sample.location_id) for sample in message.sample]
        if self._focus or self._ignore or self._hide or self._show:
            self._filter_by_name(table, stacks)
            self._check_time()
        if self._show_from:
            _show_from(self._show_from, table, stacks)
            self._check_time()
        if self._tagfocus or self._tagignore:
            for i, sample in enumerate(message.sample):
                if stacks[i] is not None and not self._has_labels(read_labels(sample, strings), units):
                    stacks[i] = None
        _write(message, table, stacks)

    def _filter_by_name(self, table: "_Table", stacks: _Stacks) -> None:
        """Keep samples with a frame that matches ``focus`` and none that matches ``ignore``; hide frames.

        A location that is hidden still counts for ``focus`` and ``ignore``.
        """
        focused, ignored, hidden = set(), set(), set()
        for location in table.lines:
            if self._ignore and table.matches(location, self._ignore):
                ignored.add(location)
            elif self._focus is None or table.matches(location, self._focus):
                focused.add(location)
            if self._hide and table.matches(location, self._hide):
                table.hide_lines(location, self._hide)
                if not table.lines[location]:
                    hidden.add(location)
            if self._show:
                table.show_lines(location, self._show)
                if not table.lines[location]:
                    hidden.add(location)
        for i, stack in enumerate(stacks):
            if stack is None or focused.isdisjoint(stack) or not ignored.isdisjoint(stack):
                stacks[i] = None
            elif hidden:
                stacks[i] = [location for location in stack if location not in hidden] or None

    def _has_labels(self, labels: SampleLabels, units: Mapping[bytes, bytes]) -> bool:
        return (self._tagfocus is None or self._tagfocus.matches(labels, units)) and (
            self._tagignore is None or not self._tagignore.matches(labels, units)
        )


class _Table:
    """The locations of *message*: their lines, innermost first, and their binaries."""

    def __init__(self, message: profile_pb2.Profile, strings: Sequence[bytes]) -> None:
        self._names = format_function_names(message, strings)
        self._files = {function.id: strings[function.filename] for function in message.function}
        binaries = {mapping.id: strings[mapping.filename] for mapping in message.mapping}
        # pprof gives all locations a mapping without a name if there is no mapping at all.
        no_binary = None if message.mapping else b""
        self._binaries = {
            location.id: binaries.get(location.mapping_id, no_binary) for location in message.location
        }
        self.lines: dict[int, Sequence[profile_pb2.Line]] = {
            location.id: location.line for location in message.location
        }

    def matches(self, location: int, matcher: Matcher) -> bool:
        """Return whether the name or file of a function of *location* matches, or the path of its binary."""
        return any(self.matches_line(line, matcher) for line in self.lines[location]) or self.matches_binary(
            location, matcher
        )

    def matches_line(self, line: profile_pb2.Line, matcher: Matcher) -> bool:
        return matcher(self._names[line.function_id]) or matcher(self._files[line.function_id])

    def matches_binary(self, location: int, matcher: Matcher) -> bool:
        binary = self._binaries[location]
        return binary is not None and matcher(binary)

    def hide_lines(self, location: int, matcher: Matcher) -> None:
        """Remove the lines that match, or all if the binary does."""
        is_whole = self.matches_binary(location, matcher)
        lines = () if is_whole else self.lines[location]
        self.lines[location] = [line for line in lines if not self.matches_line(line, matcher)]

    def show_lines(self, location: int, matcher: Matcher) -> None:
        """Remove the lines that do not match, unless the binary does."""
        if not self.matches_binary(location, matcher):
            lines = self.lines[location]
            self.lines[location] = [line for line in lines if self.matches_line(line, matcher)]


def _show_from(matcher: Matcher, table: _Table, stacks: _Stacks) -> None:
    """Cut stacks at the outermost frame that matches, and remove those without one."""
    matching = set()
    for location, lines in table.lines.items():
        if table.matches_binary(location, matcher):
            matching.add(location)
            continue
        outermost = max((i for i, line in enumerate(lines) if table.matches_line(line, matcher)), default=None)
        if outermost is not None:
            table.lines[location] = lines[: outermost + 1]
            matching.add(location)
    for i, stack in enumerate(stacks):
        outermost = max((at for at, location in enumerate(stack or ()) if location in matching), default=None)
        stacks[i] = stack[: outermost + 1] if stack and outermost is not None else None


def _write(message: profile_pb2.Profile, table: _Table, stacks: _Stacks) -> None:
    """Write *stacks* to the samples of *message*, and the lines of *table* to its locations."""
    samples = []
    for sample, stack in zip(message.sample, stacks, strict=True):
        if stack is not None:
            if len(stack) < len(sample.location_id):
                sample.location_id[:] = stack
            samples.append(sample)
    if len(samples) < len(message.sample):
        del message.sample[:]
        message.sample.extend(samples)
    for location in message.location:
        lines = list(table.lines[location.id])
        if len(lines) < len(location.line):
            del location.line[:]
            location.line.extend(lines)
