"""The lists that Grafana asks for when a page opens, over many services of one storage."""

import json
import time
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import urllib3

from bench.measure import Measure, Row, alternate, bench
from profbucket.grafana.service import GrafanaService
from profbucket.limits import Limits
from profbucket.model.meta import Meta, Total
from profbucket.model.profile_type import ProfileType
from profbucket.query.querier import Querier
from profbucket.storage.open import open_storage
from profbucket.times import DAY, SECOND
from tests.support.serving import served
from tests.support.storage.bulk_load import fill_directory
from tests.support.storage.examples import make_meta

_SERVICES, _SERIES = 1000, 10  # series of a service and type
_NOW = 1_795_000_000 * SECOND
_SAMPLE_TYPES = {
    "cpu": {"samples": "count", "cpu": "nanoseconds"},
    "heap": {"alloc_objects": "count", "alloc_space": "bytes", "inuse_objects": "count", "inuse_space": "bytes"},
    "block": {"contentions": "count", "delay": "nanoseconds"},
    "mutex": {"contentions": "count", "delay": "nanoseconds"},
    "goroutine": {"goroutine": "count"},
}
_CALLS: dict[str, dict[str, Any]] = {
    "ProfileTypes": {},
    "LabelValues": {"name": "service_name"},
    "Series": {"labelNames": ["service_name", "__profile_type__"]},
}


def _make_metas() -> Iterator[Meta]:
    """Yield a profile of each series."""
    for service, (type_name, sample_types), number in product(
        range(_SERVICES), _SAMPLE_TYPES.items(), range(_SERIES)
    ):
        totals = [Total(name, unit, 1) for name, unit in sample_types.items()]
        labels = f"pod=pod-{number},version=1.{number}"
        yield make_meta(
            _NOW - DAY // 2,
            service=f"service-{service}",
            type=ProfileType(type_name),
            labels=labels,
            totals=totals,
        )


@bench("grafana")
def grafana() -> Iterator[Row]:
    """List what a day of 1,000 services has, next to what one of them has."""
    with TemporaryDirectory() as directory:
        folder = Path(directory, "storage")
        url = folder.as_uri()
        storage = open_storage(url)
        storage.index.services()  # creates the index
        fill_directory(folder, _make_metas())
        service = GrafanaService(Querier(storage), Limits(), lambda: _NOW)

        def encode(fields: dict[str, Any]) -> bytes:
            return json.dumps({"start": (_NOW - DAY) // 10**6, "end": _NOW // 10**6, **fields}).encode()

        def measure(method: str, **fields: Any) -> Measure:
            body = encode(fields)
            begin, cpu = time.perf_counter(), time.process_time()
            service.call(f"querier.v1.QuerierService/{method}", body, lambda _: True, is_json=True)
            return Measure(time.perf_counter() - begin, cpu_seconds=time.process_time() - cpu)

        one_service = partial(measure, "Series", **_CALLS["Series"], matchers=['{service_name="service-500"}'])
        for method, fields in _CALLS.items():
            all_services, one = alternate(partial(measure, method, **fields), one_service)
            yield Row(f"{method} of {_SERVICES:,} services", all_services, one, "peer: Series of one service")

        with served(url, Path(directory, "log"), program="profbucket", PROFBUCKET_ANONYMOUS="1") as served_at:
            headers = {"Content-Type": "application/json", "Accept-Encoding": "gzip"}

            def request(method: str, fields: dict[str, Any]) -> Measure:
                call, body = f"{served_at}/querier.v1.QuerierService/{method}", encode(fields)
                begin = time.perf_counter()
                answer = urllib3.request("POST", call, body=body, headers=headers, timeout=60, retries=False)
                assert answer.status == 200, answer.data
                return Measure(time.perf_counter() - begin)

            for method, fields in _CALLS.items():
                [measured] = alternate(partial(request, method, fields))
                yield Row(f"{method} of {_SERVICES:,} services over HTTP", measured)
