"""A flame graph as one SVG: the root at the top, a box for each frame, nothing that runs."""

from collections.abc import Iterator
from html import escape
from typing import Any
from zlib import crc32

from profbucket.model.printable import to_printable
from profbucket.pprof.report.flamegraph import OTHER
from profbucket.pprof.report.units import format_percentage, format_value

WIDTH = 1200  # of the root
_NAMESPACE = "http://www.w3.org/2000/svg"
_ROW_HEIGHT = 17
_HEADER_HEIGHT = 24
_MIN_WIDTH = 0.1  # narrower boxes are left out, with all that they called
_CHARACTER_WIDTH = 7.0
_STYLE = (
    "text{font:12px monospace;fill:#111}rect{stroke:#fff;stroke-width:.5}g:hover rect{stroke:#000;stroke-width:1}"
)


def draw_flame_graph(graph: dict[str, Any], title: str) -> str:
    """Return *graph*, as ``build_flamegraph`` returns it for one profile, as an SVG element of SVG's namespace.

    Every box is a group with a title, which browsers show on hover: name, value and share.
    """
    boxes = list(_place_boxes(graph))
    depth = max((row for _, row, _, _ in boxes), default=0) + 1
    height = _HEADER_HEIGHT + depth * _ROW_HEIGHT
    unit, [total] = graph["sample_type"]["unit"], graph["totals"]
    names = [to_printable(name) for name in graph["functions"]["name"]]
    lines = [
        f'<svg xmlns="{_NAMESPACE}" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
        f"<style>{_STYLE}</style>",
        f'<text x="4" y="16">{_escape(title)}</text>',
    ]
    values = graph["nodes"]["values"][0]
    for node, row, x, width in boxes:
        function = graph["nodes"]["function"][node]
        name = names[function] if function >= 0 else "(other)" if function == OTHER else "(all)"
        share = format_percentage(values[node], total).strip()
        tooltip = f"{name}: {format_value(values[node], unit)} ({share})"
        y = _HEADER_HEIGHT + row * _ROW_HEIGHT
        lines.append(
            f"<g><title>{_escape(tooltip)}</title>"
            f'<rect x="{x:.2f}" y="{y}" width="{width:.2f}" height="{_ROW_HEIGHT}" fill="{_choose_color(name)}"/>'
            f'<text x="{x + 3:.2f}" y="{y + 12}">{_escape(_fit(name, width))}</text></g>'
        )
    return "\n".join([*lines, "</svg>", ""])


def _place_boxes(graph: dict[str, Any]) -> Iterator[tuple[int, int, float, float]]:
    """Yield node, row, left end and width of each box that is wide enough, a caller before what it calls."""
    nodes = graph["nodes"]
    values = nodes["values"][0]
    children: list[list[int]] = [[] for _ in values]
    for node, parent in enumerate(nodes["parent"]):
        if node:
            children[parent].append(node)
    pending = [(0, 0, 0.0, float(WIDTH))]
    while pending:
        node, row, x, width = pending.pop()
        yield node, row, x, width
        # In a difference, or if sums overflow, the children may be larger than their parent: they share its width.
        sizes = [max(values[child], 0) for child in children[node]]
        scale = width / max(values[node], sum(sizes), 1)
        for child, size in sorted(zip(children[node], sizes, strict=True), key=lambda pair: -pair[1]):
            if size * scale >= _MIN_WIDTH:
                pending.append((child, row + 1, x, size * scale))
            x += size * scale


def _fit(name: str, width: float) -> str:
    """Return as much of *name* as fits into *width*."""
    count = int((width - 6) / _CHARACTER_WIDTH)
    if count >= len(name):
        return name
    return f"{name[: count - 1]}…" if count >= 3 else ""


def _choose_color(name: str) -> str:
    """Return a warm color, the same for all functions of a package."""
    path, _, rest = name.rpartition("/")
    seed = crc32(f"{path}/{rest.partition('.')[0].partition(':')[0]}".encode(errors="replace"))
    return f"hsl({seed % 60},{60 + seed // 60 % 30}%,{66 + seed // 1800 % 12}%)"


def _escape(text: str) -> str:
    """Return *text* for XML, which cannot hold control characters at all."""
    return escape(to_printable(text))
