"""ClickHouse in a process of its own, which answers one query after the other.

``python -m tests.support.clickhouse`` reads a query as JSON from each line of its standard input and writes a line
of JSON with its result. The library is half a gigabyte, and starts threads that a test process should not have.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

from tests.support.paths import ROOT

Rows = Sequence[tuple[Any, ...]]


class ClickHouse:
    """A session of ClickHouse: tables and views that were created stay for the next query."""

    def __init__(self, requests: IO[str], results: IO[str]) -> None:
        self._requests, self._results = requests, results

    def query(self, sql: str) -> Rows:
        """Return the rows that *sql* selects; dates are texts."""
        self._requests.write(f"{json.dumps(sql)}\n")
        self._requests.flush()
        result = json.loads(self._results.readline())
        assert "error" not in result, f"{result['error']}\n{sql}"
        return [tuple(row) for row in result["rows"]]


@contextmanager
def start_clickhouse() -> Iterator[ClickHouse]:
    command = [sys.executable, "-m", "tests.support.clickhouse"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdin
        assert process.stdout
        yield ClickHouse(process.stdin, process.stdout)
        process.stdin.close()


def _serve() -> None:
    from chdb.session import Session

    session = Session()
    session.query("SET output_format_json_quote_64bit_integers = 0")
    for line in sys.stdin:
        try:
            text = session.query(json.loads(line), "JSONCompact").data()
            result = {"rows": json.loads(text)["data"] if text else []}
        except RuntimeError as error:
            result = {"error": str(error)}
        sys.stdout.write(f"{json.dumps(result)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
