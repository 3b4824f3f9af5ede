"""The documents that Grafana's lists read from Firestore: those of series, and none for each profile."""

import json

import pytest

from profbucket.grafana.service import GrafanaService
from profbucket.limits import Limits
from profbucket.model.meta import Total
from profbucket.query.querier import Querier
from profbucket.storage.memory import MemoryBucket
from profbucket.storage.store import Storage
from storage_gcs import FirestoreIndex
from tests.support.proxies import TrafficCounter, firestore_proxy
from tests.support.storage.bulk_load import load_entries
from tests.support.storage.examples import NOW, make_meta
from tests.support.storage.unique_names import new_name

SERVICES, SERIES, PROFILES = 6, 5, 4
DAY_MS = 86_400_000


def test_a_list_reads_a_document_for_each_service(firestore: str, monkeypatch: pytest.MonkeyPatch) -> None:
    traffic, project = TrafficCounter(), new_name()
    totals = [Total("samples", "count", 1), Total("cpu", "nanoseconds", 2)]
    metas = [
        make_meta(NOW + number, service=f"service-{number % SERVICES}", labels=f"pod={series}", totals=totals)
        for series in range(SERIES)
        for number in range(PROFILES * SERVICES)
    ]
    with firestore_proxy(firestore, traffic) as host:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", host)
        index = FirestoreIndex(project)
        load_entries(project, metas)
        index.tidy_series(all_services=False)  # as each run of compaction does
        service = GrafanaService(Querier(Storage(MemoryBucket(), index)), Limits(), lambda: NOW)
        fields = {"start": NOW // 10**6 - DAY_MS, "end": NOW // 10**6 + DAY_MS, "name": "service_name"}
        for method in ("ProfileTypes", "LabelNames", "LabelValues", "Series", "GetProfileStats"):
            for matchers, documents in (([], SERVICES), (['{service_name="service-1"}'], 1)):
                if matchers and method in ("ProfileTypes", "GetProfileStats"):
                    continue
                traffic.reset()
                body = json.dumps({**fields, "matchers": matchers}).encode()
                assert (
                    service.call(f"querier.v1.QuerierService/{method}", body, lambda _: True, is_json=True)
                    != b"{}"
                )
                assert traffic.documents == documents
