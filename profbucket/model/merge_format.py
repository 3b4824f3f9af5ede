"""The formats in which a merge can be returned."""

from enum import StrEnum


class MergeFormat(StrEnum):
    """A format: its name in requests, the suffix of its files, and its media type."""

    suffix: str
    media_type: str

    PPROF = "pprof", ".pb.gz", "application/octet-stream"
    COLLAPSED = "collapsed", ".collapsed.txt", "text/plain; charset=utf-8"
    SPEEDSCOPE = "speedscope", ".speedscope.json", "application/json"
    SVG = "svg", ".svg", "image/svg+xml"
    DOT = "dot", ".dot", "text/vnd.graphviz; charset=utf-8"
    HTML = "html", ".html", "text/html; charset=utf-8"

    def __new__(cls, name: str, suffix: str, media_type: str) -> "MergeFormat":
        member = str.__new__(cls, name)
        member._value_ = name
        member.suffix = suffix
        member.media_type = media_type
        return member
