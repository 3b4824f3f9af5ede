"""The formats in which a merge can be returned."""

from enum import StrEnum


class MergeFormat(StrEnum):
    """A format by its name in requests."""

    PPROF = "pprof"
    COLLAPSED = "collapsed"
    SPEEDSCOPE = "speedscope"
    SVG = "svg"
    DOT = "dot"
    HTML = "html"

    @property
    def suffix(self) -> str:
        """The suffix of the names of files."""
        return {
            MergeFormat.PPROF: ".pb.gz",
            MergeFormat.COLLAPSED: ".collapsed.txt",
            MergeFormat.SPEEDSCOPE: ".speedscope.json",
        }.get(self, f".{self.value}")

    @property
    def media_type(self) -> str:
        """The value of ``Content-Type``."""
        return {
            MergeFormat.PPROF: "application/octet-stream",
            MergeFormat.COLLAPSED: "text/plain; charset=utf-8",
            MergeFormat.SPEEDSCOPE: "application/json",
            MergeFormat.SVG: "image/svg+xml",
            MergeFormat.DOT: "text/vnd.graphviz; charset=utf-8",
            MergeFormat.HTML: "text/html; charset=utf-8",
        }[self]
