"""The tables of docs/operations.md that show operations and costs."""

from collections.abc import Mapping
from dataclasses import astuple

from tests.support.costs.bill import SCRAPED, Counts, Load, Prices, make_bill, per_million, price
from tests.support.costs.counting import BATCHES, POSTS, SCRAPER
from tests.support.costs.operations import Operations
from tests.support.tables import format_table

_INSTANCES = (1, 10, 100)
_MILLION = 1e6
_CALLS_HEAD = "| call | class A | class B | reads | writes | deletes | dollars per million |"
_BATCH_HEAD = "| dollars per million | 100 instances | in batches of 5 types | scraper of 100 targets |"
_BILL_HEAD = "| dollars a month | 1 instance | 10 | 100 | 100, per million profiles |"


def format_calls(calls: Mapping[str, Operations], prices: Prices) -> list[str]:
    """Return the lines of the table of operations per call."""
    rows = [
        (name, *(f"{value:.0f}" for value in astuple(operations)), f"{price(operations, prices) * _MILLION:.2f}")
        for name, operations in calls.items()
    ]
    return format_table(_CALLS_HEAD, rows)


def format_bills(counts: Counts, prices: Prices) -> list[str]:
    """Return the lines of the table of monthly costs."""
    loads = [Load(instances) for instances in _INSTANCES]
    bills = [make_bill(load, counts, prices) for load in loads]
    columns = [*bills, per_million(loads[-1], counts, prices)]
    rows = [(name, *(f"{column[name]:.2f}" for column in columns)) for name in bills[0]]
    totals = ("**total**", *(f"**{sum(column.values()):.2f}**" for column in columns))
    return format_table(_BILL_HEAD, [("profiles", *(f"{load.profiles:,}" for load in loads), ""), *rows, totals])


def format_batches(counts: Mapping[str, Counts], prices: Prices) -> list[str]:
    """Return the lines of the table of costs with and without batches."""
    loads = {POSTS: Load(100), BATCHES: Load(100, batch=5), SCRAPER: SCRAPED}
    columns = [per_million(load, counts[name], prices) for name, load in loads.items()]
    rows = [(name, *(f"{column[name]:.2f}" for column in columns)) for name in columns[0]]
    totals = ("**total**", *(f"**{sum(column.values()):.2f}**" for column in columns))
    return format_table(_BATCH_HEAD, [*rows, totals])
