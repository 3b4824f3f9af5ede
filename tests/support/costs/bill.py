"""Monthly bills of a deployment, from counted operations and list prices."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.costs.operations import Operations
from tests.support.paths import ROOT

_DAYS = 30
_SECONDS = _DAYS * 86_400
_MINUTES = _DAYS * 24 * 60
_GIB = 2**30
_CALLS_OF_POST = 2  # one after the other: the object and the entry

Prices = Mapping[str, Mapping[str, float]]


def read_prices() -> Any:
    """Return docs/prices.toml."""
    return tomllib.loads((ROOT / "docs" / "prices.toml").read_text())


@dataclass(frozen=True, slots=True)
class Load:
    """Instances of one service with one profile of each type a minute, kept as terraform does by default.

    ``batch`` is the number of profiles that are stored with one call, by a function with ``cpus``. Those of a
    scraper are not posted: each minute, a function runs for ``scrape_seconds`` until it has fetched them.
    ``block_bytes`` is the size of a profile in a block.
    """

    instances: int
    types: int = 5
    batch: int = 1
    scrape_seconds: float = 0.0
    cpus: float = 1.0
    profile_bytes: int = 20_000
    block_bytes: int = 1_000
    entry_bytes: int = 800
    raw_days: int = 14
    block_days: int = 400

    @property
    def profiles(self) -> int:
        """The number of profiles in a month."""
        return self.instances * self.types * _MINUTES


@dataclass(frozen=True, slots=True)
class Counts:
    """Counted operations: of a post, and of compacting one service and type, for a day and for each profile."""

    post: Operations
    compaction_day: Operations
    compaction_profile: Operations


# The targets of a scraper with the default profiles: the ten seconds of "profile", the spread of the targets.
SCRAPED = Load(100, types=4, batch=400, scrape_seconds=16.0, cpus=0.5)


def price(operations: Operations, prices: Prices) -> float:
    """Return the price of *operations* in dollars, without what is free."""
    storage, firestore = prices["storage"], prices["firestore"]
    return (
        operations.class_a * storage["class_a"]
        + operations.class_b * storage["class_b"]
        + operations.reads * firestore["read"]
        + operations.writes * firestore["write"]
        + operations.deletes * firestore["delete"]
    )


def make_bill(load: Load, counts: Counts, prices: Prices) -> dict[str, float]:
    """Return the dollars of a month, by line."""
    storage, firestore, functions = prices["storage"], prices["firestore"], prices["functions"]
    seconds = prices["seconds"]
    post_cpu = seconds["post_cpu"] if load.batch == 1 else load.batch * seconds["batch_cpu"]
    post_seconds = load.scrape_seconds + post_cpu / load.cpus + _CALLS_OF_POST * seconds["call"]
    profiles = load.profiles
    requests = profiles / load.batch
    posts, compacted = counts.post * profiles, counts.compaction_profile * profiles
    fixed = counts.compaction_day * (load.types * _DAYS)
    documents = posts + compacted
    busy_seconds = requests * post_seconds
    if not load.scrape_seconds:
        # An instance that serves several posts at once costs the same as one that serves one: they come at random.
        busy_seconds = _SECONDS * (1 - math.exp(-busy_seconds / _SECONDS))
    compaction_seconds = seconds["compaction_cpu"] * profiles
    cpu_seconds, gib_seconds = busy_seconds * load.cpus + compaction_seconds, busy_seconds + compaction_seconds
    # Entries are kept for two hours at most, until they are in a block.
    entry_gib = profiles * load.entry_bytes / _GIB * 2 / (_DAYS * 24)
    stored_bytes = load.profile_bytes * load.raw_days + load.block_bytes * load.block_days
    return {
        "put the profiles": posts.class_a * storage["class_a"],
        "CPU and memory (1 GiB)": _above(cpu_seconds, functions["free_cpu_seconds"]) * functions["cpu_second"]
        + _above(gib_seconds, functions["free_gib_seconds"]) * functions["gib_second"],
        "Firestore": sum(
            _above(getattr(documents, kind), firestore[f"free_{kind}"] * _DAYS) * firestore[kind.removesuffix("s")]
            for kind in ("reads", "writes", "deletes")
        )
        + _above(entry_gib, firestore["free_gib"]) * firestore["gib_month"],
        "store profiles and blocks": profiles * stored_bytes / _DAYS / 1e9 * storage["gb_month"],
        "read each profile once, to compact it": compacted.class_b * storage["class_b"],
        "requests": _above(requests, functions["free_requests"]) * functions["request"],
        "other operations of compaction": price(fixed, prices),
    }


def per_million(load: Load, counts: Counts, prices: Prices) -> dict[str, float]:
    """Return the dollars of a million profiles of *load*, by line."""
    return {name: value / load.profiles * 1e6 for name, value in make_bill(load, counts, prices).items()}


def _above(amount: float, free: float) -> float:
    return max(0.0, amount - free)
