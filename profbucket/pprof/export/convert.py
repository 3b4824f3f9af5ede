"""Convert a pprof to one of the formats in which a merge can be returned."""

from collections.abc import Callable

from profbucket.limits import Limits
from profbucket.model.merge_format import MergeFormat
from profbucket.pprof.codec import parse_valid
from profbucket.pprof.export.collapsed import to_collapsed
from profbucket.pprof.export.dot import to_dot
from profbucket.pprof.export.flame_html import draw_flame_page
from profbucket.pprof.export.flame_svg import draw_flame_graph
from profbucket.pprof.export.size import check_size
from profbucket.pprof.export.speedscope import to_speedscope
from profbucket.pprof.report.flamegraph import build_from_messages
from profbucket.pprof.report.stacks import shorten_name
from profbucket.pprof.report.top import find_sample_type


def convert(
    data: bytes,
    merge_format: MergeFormat,
    max_nodes: int,
    limits: Limits = Limits(),
    check_time: Callable[[], None] = lambda: None,
) -> bytes:
    """Return the valid pprof *data* in *merge_format*, of its default sample type if that has only one.

    Graphs have at most *max_nodes* nodes; their title is the first comment. *check_time* is called now and then,
    and may raise an error.

    Raises:
        TooLarge: *data* exceeds one of *limits*.
        TooMany: The stacks have more than ``limits.frames`` frames, or the result exceeds ``limits.export_bytes``.
    """
    if merge_format is MergeFormat.PPROF:
        return data
    message = parse_valid(data, limits)
    column = find_sample_type(message, "")
    title = shorten_name(message.string_table[message.comment[0]]) if message.comment else ""
    check_time()
    match merge_format:
        case MergeFormat.COLLAPSED:
            return to_collapsed(message, column, limits)
        case MergeFormat.SPEEDSCOPE:
            return to_speedscope(message, column, title, limits)
        case MergeFormat.DOT:
            text = to_dot(message, column, max_nodes, limits, check_time)
        case _:
            draw = draw_flame_graph if merge_format is MergeFormat.SVG else draw_flame_page
            text = draw(build_from_messages([message], "", max_nodes, limits=limits), title)
    result = text.encode()
    check_size(len(result), limits)
    return result
