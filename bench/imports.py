"""Cold starts: the time to import each module in a process of its own."""

from collections.abc import Iterator
from functools import partial

from bench.measure import Row, alternate, bench, run_process
from bench.profiles import PYTHON

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
    """Measure whole processes; the peer is the start of the interpreter alone."""
    for module in _MODULES:
        measure, python = alternate(
            partial(run_process, [PYTHON, "-c", f"import {module}"]),
            partial(run_process, [PYTHON, "-c", "pass"]),
        )
        yield Row(f"import {module}", measure, python, "peer: python -c pass")
