"""Where the time went, or the memory: what `go tool pprof -top` prints, for those who have no Go."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from posixpath import basename

from profbucket.errors import Invalid
from profbucket.pprof import profile_pb2
from profbucket.pprof.codec import Profile
from profbucket.pprof.report.function_names import shown_name
from profbucket.pprof.report.prune import pruned
from profbucket.pprof.report.units import label, percentage, scale

EDGE_FRACTION = 0.001  # calls with a smaller share of the whole do not decide what is called inlined

_Stack = list[tuple[int, ...]]  # the nodes of each location, root first, in a location the caller first


@dataclass(frozen=True, slots=True)
class TopRow:
    """A function. ``flat`` is what it spent itself, ``cum`` with all that it called, both in the profile's unit.

    ``inlined`` is ``""``, ``"(inline)"``, or ``"(partial-inline)"`` where only some callers inlined it.
    """

    name: str
    flat: int
    cum: int
    inlined: str = ""


@dataclass(frozen=True, slots=True)
class TopReport:
    """The functions of a profile, those that matter most first. ``unit`` is what values are written in."""

    header: tuple[str, ...]
    rows: tuple[TopRow, ...]
    total: int
    profile_unit: str
    unit: str

    def lines(self) -> Iterator[str]:
        """The report, line by line."""
        yield from self.header
        yield f"{'flat':>10} {'flat':>5}% {'sum':>5}% {'cum':>10} {'cum':>5}%"
        accounted = 0
        for row in self.rows:
            accounted += row.flat
            yield (
                f"{self._written(row.flat):>10} {percentage(row.flat, self.total)}"
                f" {percentage(accounted, self.total)}"
                f" {self._written(row.cum):>10} {percentage(row.cum, self.total)}"
                f"  {row.name}{row.inlined and ' '}{row.inlined}"
            )

    def _written(self, value: int) -> str:
        return label(value, self.profile_unit, self.unit)


def build_top_report(
    profile: Profile, sample_type: str = "", *, by_cum: bool = False, count: int = 0, fraction: float = 0.005
) -> TopReport:
    """The functions of *profile* by what they spent in *sample_type*.

    Without a sample type it is the profile's default, else its last. A function that stands in a stack several
    times counts once in ``cum``; one without symbols is called by its binary. Left out are functions whose share
    of the whole is below *fraction*, and all but the first *count*, if that is not 0. Raise ``Invalid`` where
    there is no such sample type.
    """
    message = profile.message
    column = find_sample_type(message, sample_type)
    nodes, stacks = _stacks(message, column)
    flat, cum = _values(stacks, len(nodes))
    whole = sum(flat)
    shown = [number for number in range(len(nodes)) if flat[number] or cum[number]]
    if cutoff := abs(int(whole * fraction)):
        kept = [number for number in shown if abs(cum[number]) >= cutoff]
    else:
        kept = shown
    names = [node.name for node in nodes]
    first, second = (cum, flat) if by_cum else (flat, cum)
    order = sorted(kept, key=lambda number: (-abs(first[number]), names[number], -abs(second[number])))
    order = order[: count or None]
    inlined = _inlined(stacks, frozenset(order), abs(int(whole * EDGE_FRACTION)))
    rows = [
        TopRow(names[number].decode(errors="replace"), flat[number], cum[number], inlined.get(number, ""))
        for number in order
    ]
    total = _total(message, column)
    profile_unit = _text(message, message.sample_type[column].unit)
    unit = _output_unit(rows, total, profile_unit)
    accounted = sum(row.flat for row in rows)
    written, whole_written = label(accounted, profile_unit, unit), label(total, profile_unit, unit)
    header = [
        *_profile_lines(message, column, total, label(total, profile_unit, unit)),
        f"Showing nodes accounting for {written}, {percentage(accounted, total).strip()} of {whole_written} total",
    ]
    if total and (dropped := len(shown) - len(kept)):
        limit = label(abs(int(total * fraction)), profile_unit, unit)
        header.append(f"Dropped {dropped} node{'s' * (dropped > 1)} (cum <= {limit})")
    if total and 0 < len(rows) < len(kept):
        header.append(f"Showing top {len(rows)} nodes out of {len(kept)}")
    return TopReport(tuple(header), tuple(rows), total, profile_unit, unit)


def find_sample_type(message: profile_pb2.Profile, wanted: str) -> int:
    """The number of the sample type that is called *wanted*; a number is one as well."""
    kinds = [_text(message, kind.type) for kind in message.sample_type]
    if not wanted:
        default = _text(message, message.default_sample_type)
        return kinds.index(default) if default and default in kinds else len(kinds) - 1
    if wanted.isascii() and wanted.isdigit() and int(wanted[:9]) < len(kinds):
        return int(wanted)
    for name in (wanted, wanted.removeprefix("inuse_")):  # what Go's heap profiles once called them
        if name in kinds:
            return kinds.index(name)
    raise Invalid(f"no sample type {wanted[:80]!r}: the profile has {', '.join(kinds)}")


@dataclass(frozen=True, slots=True)
class _Node:
    """A function; where it has no name, what else is known of it keeps it apart."""

    function: bytes
    binary: bytes = b""
    start_line: int = 0

    @property
    def name(self) -> bytes:
        binary = _base(self.binary)
        return self.function or (b"[" + binary + b"]" if binary else b"<unknown>")


def _stacks(message: profile_pb2.Profile, column: int) -> tuple[list[_Node], list[tuple[_Stack, int]]]:
    """All nodes, and the stack and value of each sample whose value is not zero."""
    text = message.string_table
    names = {f.id: shown_name(text[f.name], text[f.system_name]) for f in message.function}
    starts = {f.id: f.start_line for f in message.function}
    binaries = {m.id: text[m.filename] for m in message.mapping} | {0: b""}
    samples, lines = pruned(
        message,
        {location.id: [line.function_id for line in location.line] for location in message.location},
        names,
    )
    numbers: dict[_Node, int] = {}
    places: dict[int, tuple[int, ...]] = {}
    for location in message.location:
        binary = binaries[location.mapping_id]
        found = [
            _Node(names[function]) if names[function] else _Node(b"", binary, starts[function])
            for function in reversed(lines[location.id])
        ]
        places[location.id] = tuple(
            numbers.setdefault(node, len(numbers)) for node in found or [_Node(b"", binary)]
        )
    stacks = [
        ([places[number] for number in reversed(ids)], value)
        for ids, sample in zip(samples, message.sample, strict=True)
        if (value := sample.value[column])
    ]
    return list(numbers), stacks


def _values(stacks: Iterable[tuple[_Stack, int]], count: int) -> tuple[list[int], list[int]]:
    """The flat and the cumulative value of each node."""
    flat, cum = [0] * count, [0] * count
    for stack, value in stacks:
        for node in set(chain.from_iterable(stack)):
            cum[node] += value
        if stack:
            flat[stack[-1][-1]] += value
    return flat, cum


def _inlined(stacks: Iterable[tuple[_Stack, int]], kept: frozenset[int], cutoff: int) -> dict[int, str]:
    """Which of the *kept* nodes were inlined, as told by the calls among them that weigh *cutoff* at least.

    A call through nodes that were not kept counts as one from the last that was. Between two nodes a call is
    inlined if it is so in all stacks, as told by the first of them in each.
    """
    weights: dict[tuple[int, int], int] = {}
    called: set[tuple[int, int]] = set()  # other than inlined
    for stack, value in stacks:
        crossed = set()
        parent = -1
        for place in stack:
            for depth, node in enumerate(place):
                if node not in kept:
                    continue
                edge = parent, node
                if parent not in (-1, node) and edge not in crossed:
                    crossed.add(edge)
                    weights[edge] = weights.get(edge, 0) + value
                    if not depth:
                        called.add(edge)
                parent = node
    inlined: dict[int, str] = {}
    for edge, weight in weights.items():
        if abs(weight) >= cutoff and edge not in called:
            inlined[edge[1]] = "(inline)"
    for edge, weight in weights.items():
        if abs(weight) >= cutoff and edge in called and edge[1] in inlined:
            inlined[edge[1]] = "(partial-inline)"
    return inlined


def _total(message: profile_pb2.Profile, column: int) -> int:
    """The sum of all values without their signs; in a difference, of those that were subtracted."""
    text = message.string_table
    total = base = 0
    for sample in message.sample:
        value = abs(sample.value[column])
        total += value
        if any(text[n.key] == b"pprof::base" and text[n.str] == b"true" for n in sample.label):
            base += value
    return base or total


def _output_unit(rows: Sequence[TopRow], total: int, unit: str) -> str:
    """The unit in which all values are written: one in which the smallest still shows."""
    if not rows:
        return "auto"
    smallest = min((abs(row.flat or row.cum) for row in rows), default=0) or total
    written, largest = scale(smallest, unit)[1], scale(total, unit)[1]
    if written != largest and smallest * 100 < total:
        written = scale(100 * smallest, unit)[1]
    return written or unit


def _profile_lines(message: profile_pb2.Profile, column: int, total: int, written: str) -> Iterator[str]:
    """What the profile says of itself. The time is the local one."""
    if message.mapping:
        main = message.mapping[0]
        if file := _base(message.string_table[main.filename]):
            yield f"File: {file.decode(errors='replace')}"
        if main.build_id:
            yield f"Build ID: {_text(message, main.build_id)}"
    for comment in message.comment:
        if not (text := _text(message, comment)).startswith("#"):
            yield text
    kind = message.sample_type[column]
    if name := _text(message, kind.type):
        yield f"Type: {name}"
    if url := _text(message, message.doc_url):
        yield f"Doc: {url}"
    if message.time_nanos:
        moment = datetime.fromtimestamp(message.time_nanos // 10**9, UTC).astimezone()
        yield f"Time: {moment:%Y-%m-%d %H:%M:%S %Z}"
    if message.duration_nanos:
        number, unit = scale(total, _text(message, kind.unit), "nanoseconds")
        number = min(number, 2**63 - 1)  # Go has no larger one
        share = f"({percentage(int(number), message.duration_nanos)})" if unit == "ns" and number else ""
        yield f"Duration: {label(message.duration_nanos, 'ns')}, Total samples = {written} {share}"


def _text(message: profile_pb2.Profile, index: int) -> str:
    return message.string_table[index].decode(errors="replace")


def _base(path: bytes) -> bytes:
    """The last part of *path*; of one that is nothing but slashes, a slash."""
    return basename(path.rstrip(b"/")) or path[:1]
