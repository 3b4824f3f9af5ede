"""A flame graph as one HTML page, which needs nothing else: search, and zoom by clicks."""

from base64 import b64encode
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any

from profbucket.model.printable import to_printable
from profbucket.pprof.export.flame_svg import draw_flame_graph

_SCRIPT = Path(__file__).with_name("flame.js").read_text(encoding="utf-8")
_STYLE = (
    "body{font:14px sans-serif;margin:12px;background:#fff;color:#111}"
    "svg{display:block;max-width:100%;height:auto;margin-top:8px}"
    "g{cursor:pointer}g.found rect{fill:#c3f}g.above{opacity:.5}"
)
# Only this script runs and nothing is loaded or sent, whatever the names in a profile are.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; "
    f"script-src 'sha256-{b64encode(sha256(_SCRIPT.encode()).digest()).decode()}'"
)


def draw_flame_page(graph: dict[str, Any], title: str) -> str:
    """Return *graph*, as ``build_flamegraph`` returns it for one profile, as an HTML page."""
    sample_type = graph["sample_type"]["type"]
    shown = escape(to_printable(f"{sample_type}: {title}"))
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{shown}</title><style>{_STYLE}</style></head>\n"
        '<body><label>Search <input id="search" type="search" autocomplete="off"></label>\n'
        '<button id="reset" type="button">Whole graph</button> <output id="matched"></output>\n'
        f"{draw_flame_graph(graph, title)}"
        f"<script>{_SCRIPT}</script></body></html>\n"
    )
