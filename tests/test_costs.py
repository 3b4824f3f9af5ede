"""The costs in the documents follow from the operations that calls make on the emulators, and from the prices."""

import re

import pytest

from tests.support.costs.bill import Counts, Load, make_bill, price, read_prices
from tests.support.costs.counting import POSTS, count_all
from tests.support.costs.operations import Operations
from tests.support.costs.tables import format_bills, format_calls
from tests.support.paths import ROOT
from tests.support.tables import replace_tables

README = (ROOT / "README.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


@pytest.fixture(scope="module")
def counted(gcs: str, firestore: str) -> tuple[dict[str, Operations], Counts]:
    calls, counts = count_all(gcs, firestore)
    return dict(calls), counts


def test_the_tables_of_the_documentation_are_those_that_are_counted(
    counted: tuple[dict[str, Operations], Counts],
) -> None:
    """If not, `make bench ARGS='cost --write'` writes them."""
    calls, counts = counted
    tables = [format_calls(calls, read_prices()), format_bills(counts, read_prices())]
    assert replace_tables(OPERATIONS, tables) == OPERATIONS


def test_the_readme_tells_the_cost_of_one_and_of_a_hundred_instances(
    counted: tuple[dict[str, Operations], Counts],
) -> None:
    sentence = re.search(r"about \$(\d+) a month for one instance of a service and \$(\d+) for a hundred", README)
    assert sentence
    totals = [sum(make_bill(Load(instances), counted[1], read_prices()).values()) for instances in (1, 100)]
    assert [round(totals[0]), round(totals[1], -1)] == [int(sentence[1]), int(sentence[2])]


def test_a_post_costs_a_put_and_a_write(counted: tuple[dict[str, Operations], Counts]) -> None:
    """A tenth of the posts also write their series again; few add a task, or are the first of a day."""
    calls, counts = counted
    assert calls["post: any other"] == Operations(class_a=1, writes=1)
    writes = POSTS + 5 * 20 + 5
    assert counts.post == Operations(class_a=1, writes=counts.post.writes)
    assert writes <= round(counts.post.writes * POSTS) <= writes + 5


def test_a_fetch_by_its_id_reads_the_object_and_its_metadata(
    counted: tuple[dict[str, Operations], Counts],
) -> None:
    assert counted[0]["fetch a profile by its id"] == Operations(class_b=2)


def test_compaction_reads_each_profile_and_entry_once(counted: tuple[dict[str, Operations], Counts]) -> None:
    assert counted[1].compaction_profile == Operations(class_b=1, reads=1, deletes=1)


def test_a_price_is_the_sum_over_all_operations() -> None:
    prices = {
        "storage": {"class_a": 1, "class_b": 10},
        "firestore": {"read": 100, "write": 1000, "delete": 10_000},
    }
    assert price(Operations(1, 2, 3, 4, 5), prices) == 54_321


def test_what_is_free_is_not_billed() -> None:
    counts = Counts(Operations(class_a=1, writes=1), Operations(), Operations(class_b=1, reads=1, deletes=1))
    bill = make_bill(Load(instances=1), counts, read_prices())
    assert bill["Firestore"] == bill["requests"] == bill["CPU and memory (1 GiB)"] == 0
    assert bill["put the profiles"] == pytest.approx(5 * 43_200 * 0.005e-3)


def test_a_table_that_the_document_lacks_is_an_error() -> None:
    with pytest.raises(ValueError, match="not found"):
        replace_tables("text", [["| a |"]])
