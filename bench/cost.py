"""Count the billed operations of calls, posts, batches and compaction on the emulators, and price them.

``make bench ARGS=cost`` prints the tables of docs/operations.md; ``ARGS='cost --write'`` also writes them there,
and the CPU seconds that it measures to docs/prices.toml.
"""

import re
import resource
import subprocess
from collections.abc import Mapping

import urllib3

from bench.profiles import OUTPUT, PROFBUCKET
from bench.storage import make_profiles, measure_cpu_seconds, run_emulators
from profbucket.model.form import BATCH_PATH, encode_form
from tests.support.costs.bill import read_prices
from tests.support.costs.counting import POSTS, count_all
from tests.support.costs.tables import format_batches, format_bills, format_calls
from tests.support.paths import ROOT
from tests.support.serving import served
from tests.support.storage.unique_names import new_gcs_bucket, new_name
from tests.support.tables import replace_tables

_DOCUMENT = ROOT / "docs" / "operations.md"
_PRICES = ROOT / "docs" / "prices.toml"
_POSTS = 1000
_BATCH = 5


def print_costs(*, write: bool) -> None:
    """Print the tables; with *write*, also replace those in docs/operations.md."""
    with run_emulators() as (gcs, firestore):
        calls, counts = count_all(gcs, firestore)
        seconds = _measure_cpu(f"gs://{new_gcs_bucket(gcs)}?project={new_name()}")
    prices = read_prices()
    prices["seconds"] |= seconds
    for name, value in seconds.items():
        print(f"{name} = {value} s")
    tables = [format_calls(calls, prices), format_bills(counts[POSTS], prices), format_batches(counts, prices)]
    for table in tables:
        print("\n".join(table), end="\n\n")
    if write:
        text = _DOCUMENT.read_text(encoding="utf-8")
        _DOCUMENT.write_text(replace_tables(text, tables), encoding="utf-8")
        text = _PRICES.read_text(encoding="utf-8")
        for name, value in seconds.items():
            text = re.sub(rf"^{name} = \S+", f"{name} = {value}", text, flags=re.MULTILINE)
        _PRICES.write_text(text, encoding="utf-8")


def _measure_cpu(storage_url: str) -> Mapping[str, float]:
    """Return the CPU seconds of a profile: of the function for a post and in a batch, and of compaction."""
    profiles = make_profiles(_POSTS)
    with (
        served(storage_url, OUTPUT / "collector.log", PROFBUCKET_ANONYMOUS="1") as collector,
        urllib3.PoolManager(retries=False, timeout=60) as pool,
    ):
        target = f"{collector}/api/0/profiles?service=api&type=cpu&labels=version%3D1"
        assert pool.request("POST", target, body=profiles[0]).status == 200  # imports what a post needs
        before = measure_cpu_seconds(collector)
        for data in profiles[1:]:
            assert pool.request("POST", target, body=data).status == 200
        post_cpu = (measure_cpu_seconds(collector) - before) / (_POSTS - 1)
        before = measure_cpu_seconds(collector)
        for begin in range(0, _POSTS, _BATCH):
            batch = profiles[begin : begin + _BATCH]
            parts = [({"service": "batched", "type": "cpu", "version": "1"}, data) for data in batch]
            body, content_type = encode_form(parts)
            headers = {"Content-Type": content_type}
            assert pool.request("POST", f"{collector}{BATCH_PATH}", body=body, headers=headers).status == 200
        batch_cpu = (measure_cpu_seconds(collector) - before) / _POSTS
    busy, idle = _measure_compaction(storage_url), _measure_compaction(storage_url)
    compaction_cpu = (busy - idle) / (2 * _POSTS)
    return {
        "post_cpu": round(post_cpu, 4),
        "batch_cpu": round(batch_cpu, 4),
        "compaction_cpu": round(compaction_cpu, 4),
    }


def _measure_compaction(storage_url: str) -> float:
    """Return the CPU seconds of a compaction of all that there is."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([PROFBUCKET, "compact", "--all", "--storage", storage_url], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
