"""The costs in the documents follow from the operations that calls make on the emulators, and from the prices."""

import re
from collections.abc import Mapping
from dataclasses import astuple

import pytest

from tests.support.costs.bill import Counts, Load, make_bill, price, read_prices
from tests.support.costs.counting import BATCHES, PLANS, POSTS, SCRAPER, count_all
from tests.support.costs.operations import Operations
from tests.support.costs.tables import format_batches, format_bills, format_calls
from tests.support.paths import ROOT
from tests.support.tables import replace_tables

pytestmark = pytest.mark.long

Counted = tuple[Mapping[str, Operations], Mapping[str, Counts]]

README = (ROOT / "README.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


@pytest.fixture(scope="module")
def counted(gcs: str, firestore: str) -> Counted:
    calls, counts = count_all(gcs, firestore)
    return calls, counts


def test_the_tables_of_the_documentation_are_those_that_are_counted(counted: Counted) -> None:
    """If not, `make bench ARGS='cost --write'` writes them."""
    calls, counts = counted
    tables = [
        format_calls(calls, read_prices()),
        format_bills(counts[POSTS], read_prices()),
        format_batches(counts, read_prices()),
    ]
    assert replace_tables(OPERATIONS, tables) == OPERATIONS


def test_the_readme_tells_the_cost_of_one_and_of_a_hundred_instances(counted: Counted) -> None:
    sentence = re.search(r"about \$(\d+) a month for one instance of a service and \$(\d+) for a hundred", README)
    assert sentence
    totals = [sum(make_bill(Load(instances), counted[1][POSTS], read_prices()).values()) for instances in (1, 100)]
    assert [round(totals[0]), round(totals[1], -1)] == [int(sentence[1]), int(sentence[2])]


def test_a_post_costs_a_put_and_a_write(counted: Counted) -> None:
    """A tenth of the posts also write their series again; few add a task, or are the first of a day."""
    calls, counts = counted
    posts, plan = counts[POSTS].post, PLANS[POSTS]
    number = plan.minutes * plan.posted.instances * plan.posted.types
    assert calls["post: any other"] == Operations(class_a=1, writes=1)
    writes = number + 5 * 20 + 5
    assert posts == Operations(class_a=1, writes=posts.writes)
    assert writes <= round(posts.writes * number) <= writes + 5


def test_a_batch_costs_one_put(counted: Counted) -> None:
    for name in (BATCHES, SCRAPER):
        assert counted[1][name].post.class_a == pytest.approx(1 / PLANS[name].posted.batch)


def test_a_fetch_by_its_id_reads_the_object_and_its_metadata(counted: Counted) -> None:
    assert counted[0]["fetch a profile by its id"] == Operations(class_b=2)


def test_compaction_reads_each_profile_and_entry_once(counted: Counted) -> None:
    assert counted[1][POSTS].compaction_profile == Operations(class_b=1, reads=1, deletes=1)


def test_compaction_reads_a_batch_once_and_its_entry_twice(counted: Counted) -> None:
    """Compaction does so for all types of the batch together."""
    of_batch = counted[1][BATCHES].compaction_profile * PLANS[BATCHES].posted.batch
    assert astuple(of_batch) == pytest.approx(astuple(Operations(class_b=1, reads=2, deletes=1)))


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
