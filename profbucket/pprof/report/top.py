"""The report of `go tool pprof -top`: which functions took the time, or the memory. It needs no Go."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from posixpath import basename
from typing import Any

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.model.numbers import parse_count
from profbucket.pprof import profile_pb2
from profbucket.pprof.codec import Profile
from profbucket.pprof.report.function_names import format_function_names, intern_strings
from profbucket.pprof.report.prune import prune_message
from profbucket.pprof.report.refiner import Refiner
from profbucket.pprof.report.stacks import check_frames
from profbucket.pprof.report.units import convert, format_percentage, format_value

_SHOWN_CHARACTERS = 80  # of a filter
_MIN_EDGE_FRACTION = 0.001  # calls with a smaller share of the total do not decide what is marked as inlined

NodeStack = list[tuple[int, ...]]  # the nodes of each location, root first; within a location, the caller first


@dataclass(frozen=True, slots=True)
class TopRow:
    """A function. ``flat`` is its own value, ``cum`` includes all that it called; both in the profile's unit.

    ``inlined`` is ``""``, ``"(inline)"``, or ``"(partial-inline)"`` if only some callers inlined it.
    """

    name: str
    flat: int
    cum: int
    inlined: str = ""


@dataclass(frozen=True, slots=True)
class TopReport:
    """The functions of a profile, the heaviest first. Values are written in ``unit``."""

    header: tuple[str, ...]
    rows: tuple[TopRow, ...]
    total: int
    profile_unit: str
    unit: str

    def lines(self) -> Iterator[str]:
        """Yield the report, line by line."""
        yield from self.header
        yield f"{'flat':>10} {'flat':>5}% {'sum':>5}% {'cum':>10} {'cum':>5}%"
        flat_sum = 0
        for row in self.rows:
            flat_sum += row.flat
            yield (
                f"{self._format(row.flat):>10} {format_percentage(row.flat, self.total)}"
                f" {format_percentage(flat_sum, self.total)}"
                f" {self._format(row.cum):>10} {format_percentage(row.cum, self.total)}"
                f"  {row.name}{row.inlined and ' '}{row.inlined}"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the report with values in the profile's unit."""
        functions = [
            {"name": row.name, "flat": row.flat, "cum": row.cum, "inlined": row.inlined.strip("()")}
            for row in self.rows
        ]
        return {
            "header": list(self.header),
            "unit": self.profile_unit,
            "total": self.total,
            "functions": functions,
        }

    def _format(self, value: int) -> str:
        return format_value(value, self.profile_unit, self.unit)


def build_top_report(
    profile: Profile,
    sample_type: str = "",
    *,
    by_cum: bool = False,
    count: int = 0,
    fraction: float = 0.005,
    refiner: Refiner | None = None,
    limits: Limits = Limits(),
) -> TopReport:
    """Return the functions of *profile* by their values in *sample_type*, by default the profile's.

    A function that is in a stack several times counts once in ``cum``; one without symbols is called by its
    binary. The report omits functions whose share of the total is below *fraction*, and all but the first *count*,
    unless that is 0. *refiner* refines *profile* in place; shares remain those of the whole.

    Raise ``Invalid`` (code ``unknown_sample_type``) if the profile has no such sample type, and ``TooMany`` if its
    stacks have more than ``limits.frames`` frames.
    """
    message = profile.message
    column = find_sample_type(message, sample_type)
    total = compute_total(message, column)
    if refiner:
        refiner.apply(message, limits)
    nodes, stacks = collect_node_stacks(message, column, limits)
    flat, cum = _sum_values(stacks, len(nodes))
    flat_total = sum(flat)
    nonzero = [number for number in range(len(nodes)) if flat[number] or cum[number]]
    if cutoff := abs(int(flat_total * fraction)):
        kept = [number for number in nonzero if abs(cum[number]) >= cutoff]
    else:
        kept = nonzero
    # One object for the nodes of each binary, of which there may be many, and whose path may be long.
    by_binary: dict[bytes, bytes] = {}
    names = [
        node.function or by_binary.get(node.binary) or by_binary.setdefault(node.binary, node.name)
        for node in nodes
    ]
    texts = {name: name.decode(errors="replace") for name in {names[number] for number in kept}}
    first, second = (cum, flat) if by_cum else (flat, cum)
    order = sorted(kept, key=lambda number: (-abs(first[number]), names[number], -abs(second[number])))
    order = order[: count or None]
    inlined = _find_inlined(stacks, frozenset(order), abs(int(flat_total * _MIN_EDGE_FRACTION)))
    rows = [TopRow(texts[names[number]], flat[number], cum[number], inlined.get(number, "")) for number in order]
    profile_unit = _text(message, message.sample_type[column].unit)
    unit = choose_unit(rows, total, profile_unit)
    shown = sum(row.flat for row in rows)
    shown_text, total_text = format_value(shown, profile_unit, unit), format_value(total, profile_unit, unit)
    share = format_percentage(shown, total).strip()
    header = [
        *describe_profile(message, column, total, total_text),
        *_describe_filters(refiner),
        f"Showing nodes accounting for {shown_text}, {share} of {total_text} total",
    ]
    if total and (dropped := len(nonzero) - len(kept)):
        limit = format_value(abs(int(total * fraction)), profile_unit, unit)
        header.append(f"Dropped {dropped} node{'s' * (dropped > 1)} (cum <= {limit})")
    if total and 0 < len(rows) < len(kept):
        header.append(f"Showing top {len(rows)} nodes out of {len(kept)}")
    return TopReport(tuple(header), tuple(rows), total, profile_unit, unit)


def find_sample_type(message: profile_pb2.Profile, wanted: str) -> int:
    """Return the number of the sample type *wanted*, a name or a number.

    If *wanted* is empty, it is the profile's default sample type, or else its last. Raise ``Invalid`` (code
    ``unknown_sample_type``) if there is no such sample type.
    """
    names = [_text(message, sample_type.type) for sample_type in message.sample_type]
    if not wanted:
        default = _text(message, message.default_sample_type)
        return names.index(default) if default and default in names else len(names) - 1
    if (number := parse_count(wanted, most=len(names) - 1)) is not None:
        return number
    for name in (wanted, wanted.removeprefix("inuse_")):  # Go's heap profiles once called them without the prefix
        if name in names:
            return names.index(name)
    raise Invalid(
        f"no sample type {wanted[:80]!r}: the profile has {', '.join(names)}", code="unknown_sample_type"
    )


def sample_types_to_json(message: profile_pb2.Profile) -> list[dict[str, str]]:
    """Return the sample types of *message* as the API's JSON."""
    return [{"type": _text(message, own.type), "unit": _text(message, own.unit)} for own in message.sample_type]


@dataclass(frozen=True, slots=True)
class Node:
    """A function. One without a name is identified by its binary and line."""

    function: bytes
    binary: bytes = b""
    start_line: int = 0

    @property
    def name(self) -> bytes:
        binary = _basename(self.binary)
        return self.function or (b"[" + binary + b"]" if binary else b"<unknown>")


def collect_node_stacks(
    message: profile_pb2.Profile, column: int, limits: Limits = Limits()
) -> tuple[list[Node], list[tuple[NodeStack, int]]]:
    """Return all nodes, and stack and value of each sample whose value is not 0."""
    prune_message(message)
    strings = intern_strings(message)
    names = format_function_names(message, strings)
    start_lines = {f.id: f.start_line for f in message.function}
    binaries = {m.id: strings[m.filename] for m in message.mapping} | {0: b""}
    numbers: dict[Node, int] = {}
    location_nodes: dict[int, tuple[int, ...]] = {}
    for location in message.location:
        binary = binaries[location.mapping_id]
        nodes = [
            Node(names[function]) if names[function] else Node(b"", binary, start_lines[function])
            for function in (line.function_id for line in reversed(location.line))
        ]
        location_nodes[location.id] = tuple(
            numbers.setdefault(node, len(numbers)) for node in nodes or [Node(b"", binary)]
        )
    stacks: list[tuple[NodeStack, int]] = []
    frames = 0
    for sample in message.sample:
        if value := sample.value[column]:
            stack = [location_nodes[location] for location in reversed(sample.location_id)]
            check_frames(frames := frames + sum(map(len, stack)), limits)
            stacks.append((stack, value))
    return list(numbers), stacks


def _sum_values(stacks: Iterable[tuple[NodeStack, int]], count: int) -> tuple[list[int], list[int]]:
    """Return the flat and the cumulative value of each of *count* nodes."""
    flat, cum = [0] * count, [0] * count
    for stack, value in stacks:
        for node in set(chain.from_iterable(stack)):
            cum[node] += value
        if stack:
            flat[stack[-1][-1]] += value
    return flat, cum


def _find_inlined(stacks: Iterable[tuple[NodeStack, int]], kept: frozenset[int], cutoff: int) -> dict[int, str]:
    """Return the marks of those *kept* nodes that were inlined, judged by calls among them of at least *cutoff*.

    A call through nodes that were not kept counts as one from the last kept node. A call between two nodes is
    inlined if it is inlined in all stacks, judged by the first such call in each.
    """
    weights: dict[tuple[int, int], int] = {}
    not_inlined: set[tuple[int, int]] = set()
    for stack, value in stacks:
        seen = set()
        parent = -1
        for nodes in stack:
            for depth, node in enumerate(nodes):
                if node not in kept:
                    continue
                edge = parent, node
                if parent not in (-1, node) and edge not in seen:
                    seen.add(edge)
                    weights[edge] = weights.get(edge, 0) + value
                    if not depth:
                        not_inlined.add(edge)
                parent = node
    inlined: dict[int, str] = {}
    for edge, weight in weights.items():
        if abs(weight) >= cutoff and edge not in not_inlined:
            inlined[edge[1]] = "(inline)"
    for edge, weight in weights.items():
        if abs(weight) >= cutoff and edge in not_inlined and edge[1] in inlined:
            inlined[edge[1]] = "(partial-inline)"
    return inlined


def compute_total(message: profile_pb2.Profile, column: int) -> int:
    """Return the sum of all absolute values; in a difference, only of those that were subtracted."""
    strings = list(message.string_table)
    keys = {i for i, text in enumerate(strings) if text == b"pprof::base"}
    texts = {i for i, text in enumerate(strings) if text == b"true"}
    total = base = 0
    for sample in message.sample:
        value = abs(sample.value[column])
        total += value
        if keys and any(label.key in keys and label.str in texts for label in sample.label):
            base += value
    return base or total


def choose_unit(rows: Sequence[TopRow], total: int, unit: str) -> str:
    """Return the unit for all values: one in which the smallest is not rounded to 0."""
    if not rows:
        return "auto"
    smallest = min((abs(row.flat or row.cum) for row in rows), default=0) or total
    chosen, largest = convert(smallest, unit)[1], convert(total, unit)[1]
    if chosen != largest and smallest * 100 < total:
        chosen = convert(100 * smallest, unit)[1]
    return chosen or unit


def describe_profile(message: profile_pb2.Profile, column: int, total: int, total_text: str) -> Iterator[str]:
    """Yield the lines that describe the profile. The time is in the local time zone."""
    if message.mapping:
        main = message.mapping[0]
        if file := _basename(message.string_table[main.filename]):
            yield f"File: {file.decode(errors='replace')}"
        if main.build_id:
            yield f"Build ID: {_text(message, main.build_id)}"
    for comment in message.comment:
        if not (text := _text(message, comment)).startswith("#"):
            yield text
    sample_type = message.sample_type[column]
    if name := _text(message, sample_type.type):
        yield f"Type: {name}"
    if url := _text(message, message.doc_url):
        yield f"Doc: {url}"
    if message.time_nanos:
        moment = datetime.fromtimestamp(message.time_nanos // 10**9, UTC).astimezone()
        yield f"Time: {moment:%Y-%m-%d %H:%M:%S %Z}"
    if message.duration_nanos:
        nanos, unit = convert(total, _text(message, sample_type.unit), "nanoseconds")
        nanos = min(nanos, 2**63 - 1)  # the largest integer in Go
        share = f"({format_percentage(int(nanos), message.duration_nanos)})" if unit == "ns" and nanos else ""
        yield f"Duration: {format_value(message.duration_nanos, 'ns')}, Total samples = {total_text} {share}"


def _describe_filters(refiner: Refiner | None) -> list[str]:
    """Return the lines about the samples and frames that a refinement leaves out."""
    filters = [] if refiner is None else refiner.refinement.filters()
    shown = (text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…" for text in filters)
    return ["Active filters:", *(f"   {text}" for text in shown)] if filters else []


def _text(message: profile_pb2.Profile, index: int) -> str:
    return message.string_table[index].decode(errors="replace")


def _basename(path: bytes) -> bytes:
    """Return the last part of *path*; a slash if it has only slashes."""
    return basename(path.rstrip(b"/")) or path[:1]
