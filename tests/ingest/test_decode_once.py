"""A pprof in a request of another system's agent is decoded once, unless it is changed."""

import base64
import gzip
from collections.abc import Callable

import pytest

from profbucket.ingest import upload
from profbucket.ingest.pyroscope_push_pb2 import PushRequest
from profbucket.limits import Limits
from profbucket.model.ids import ProfileId
from profbucket.model.meta import Meta, Query
from profbucket.pprof.codec import Profile, decode_inflated
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from tests.api.test_datadog import FORM, form
from tests.support.agents import add_series
from tests.support.api import NOW, Api, pprof
from tests.support.storage.examples import ALL_TIME

CPU = pprof(5, at=NOW)


def send_datadog(api: Api, data: bytes) -> None:
    response = api.client.post(
        "/profiling/v1/input", data=form({"cpu.pprof": gzip.decompress(data)}), headers=FORM
    )
    assert response.status_code == 200, response.text


def send_ingest(api: Api, data: bytes) -> None:
    query = {"name": "shop", "from": "1", "until": "2", "format": "pprof"}
    response = api.client.post("/ingest", query_string=query, data=data)
    assert response.status_code == 200, response.text


def send_push(api: Api, data: bytes) -> None:
    request = PushRequest()
    add_series(request, {"__name__": "process_cpu", "service_name": "shop"}, data)
    headers = {"Content-Type": "application/proto"}
    response = api.client.post("/push.v1.PusherService/Push", data=request.SerializeToString(), headers=headers)
    assert response.status_code == 200, response.text


def send_cloud_profiler(api: Api, data: bytes) -> None:
    deployment = {"target": "shop", "projectId": "p", "labels": {}}
    json = {"deployment": deployment, "profileType": "CPU", "profileBytes": base64.b64encode(data).decode()}
    response = api.client.post("/v2/projects/p/profiles:createOffline", json=json)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("send", [send_datadog, send_ingest, send_push, send_cloud_profiler])
def test_a_pprof_is_decoded_once(monkeypatch: pytest.MonkeyPatch, send: Callable[[Api, bytes], None]) -> None:
    raws: list[bytes] = []

    def decode(raw: bytes, limits: Limits) -> Profile:
        raws.append(raw)
        return decode_inflated(raw, limits)

    monkeypatch.setattr(upload, "decode_inflated", decode)
    api = Api(Storage(MemoryBucket(), MemoryIndex()))
    send(api, CPU)
    assert raws == [gzip.decompress(CPU)]
    [stored] = find(api)
    plain = Api(Storage(MemoryBucket(), MemoryIndex()))
    data = api.storage.read(ProfileId.parse(stored.id))
    plain.posted(data, service=stored.service, type=stored.type, labels=stored.labels.format())
    [expected] = find(plain)
    assert (stored.id, [total[:3] for total in stored.totals]) == (
        expected.id,
        [total[:3] for total in expected.totals],
    )


def find(api: Api) -> list[Meta]:
    return [
        meta
        for service in api.storage.index.services()
        for meta in api.storage.lookup.find(Query(service, None, *ALL_TIME))
    ]
