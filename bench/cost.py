"""Count the billed operations of calls, posts and compaction on the emulators, and price them.

``make bench ARGS=cost`` prints the tables of docs/operations.md; ``ARGS='cost --write'`` also writes them there.
"""

from bench.storage import run_emulators
from tests.support.costs.bill import read_prices
from tests.support.costs.counting import count_all
from tests.support.costs.tables import format_bills, format_calls
from tests.support.paths import ROOT
from tests.support.tables import replace_tables

_DOCUMENT = ROOT / "docs" / "operations.md"


def print_costs(*, write: bool) -> None:
    """Print the tables; with *write*, also replace those in docs/operations.md."""
    prices = read_prices()
    with run_emulators() as (gcs, firestore):
        calls, counts = count_all(gcs, firestore)
    tables = [format_calls(calls, prices), format_bills(counts, prices)]
    for table in tables:
        print("\n".join(table), end="\n\n")
    if write:
        text = _DOCUMENT.read_text(encoding="utf-8")
        _DOCUMENT.write_text(replace_tables(text, tables), encoding="utf-8")
