"""Cold starts: what it takes to import our modules, each in a process of its own."""

from collections.abc import Iterator
from functools import partial

from bench.profiles import PYTHON
from bench.rows import Row, bench, in_turns, process

_MODULES = (
    "numpy",
    "profbucket",
    "profbucket.pprof",
    "profbucket.pprof.merge",
    "profbucket.ingest.collector",
    "profbucket.query.querier",
    "profbucket.api.app",
    "profbucket.cli.main",
    "functions.main",
)


@bench("imports")
def imports() -> Iterator[Row]:
    """Whole processes, the interpreter's own start (the peer) among them."""
    for module in _MODULES:
        ours, python = in_turns(
            partial(process, [PYTHON, "-c", f"import {module}"]),
            partial(process, [PYTHON, "-c", "pass"]),
        )
        yield Row(f"import {module}", ours, python, "peer: python -c pass")
