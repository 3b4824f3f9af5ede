"""The HTTP API over a storage in memory with a fixed clock, and profiles to post to it."""

import gzip
import json
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from profbucket.api.app import create_app
from profbucket.auth import ApiKeys
from profbucket.config import Config
from profbucket.errors import CODES
from profbucket.ingest.collector import Collector
from profbucket.limits import Limits
from profbucket.maintenance.compactor import Compactor
from profbucket.model.form import PROFILES_PATH
from profbucket.pprof import decode, profile_pb2
from profbucket.query.querier import Querier
from profbucket.storage.memory import MemoryBucket
from profbucket.storage.store import Storage
from profbucket.times import parse_time

NOW = parse_time("2026-11-22T22:51:07", 0)
TRACE = b"go 1.27 trace\x00\x00\x00" + bytes(100)
MERGE = f"{PROFILES_PATH}/merge"


def pprof(value: int = 1, *, at: int = 0, name: str = "main", sample_type: str = "cpu") -> bytes:
    """Return a profile with one sample of *value* in the function *name*, with *at* as its ``time_nanos``."""
    message = profile_pb2.Profile(
        string_table=[b"", sample_type.encode(), b"nanoseconds", name.encode()],
        sample_type=[{"type": 1, "unit": 2}],
        sample=[{"location_id": [1], "value": [value]}],
        location=[{"id": 1, "line": [{"function_id": 1}]}],
        function=[{"id": 1, "name": 3}],
        time_nanos=at,
    )
    return gzip.compress(message.SerializeToString(), mtime=0)


class LinkedBucket(MemoryBucket):
    """A bucket with links to its objects, as Cloud Storage has."""

    def sign_url(self, object_key: str, filename: str, seconds: int) -> str | None:
        return f"https://bucket.example/{object_key}?signature=s&filename={filename}&seconds={seconds}"


class Api:
    """The API over *storage*; *parts* are arguments of ``create_app``."""

    def __init__(
        self,
        storage: Storage,
        limits: Limits = Limits(),
        names: frozenset[str] = frozenset(),
        keys: ApiKeys | None = None,
        **parts: Any,
    ) -> None:
        self.storage = storage
        self.app: Flask = create_app(
            Config("memory:", limits, keys=keys, function_names=names, commit="abc", build_time="now"),
            **{
                "collector": Collector(storage, limits, lambda: NOW),
                "querier": Querier(storage, limits),
                "compactor": Compactor(storage, limits, clock=lambda: NOW),
                "clock": lambda: NOW,
                **parts,
            },
        )
        self.client: FlaskClient = self.app.test_client()

    def post(self, data: bytes, **parameters: str) -> TestResponse:
        return self.client.post(
            PROFILES_PATH, query_string={"service": "api", "type": "cpu", **parameters}, data=data
        )

    def posted(self, data: bytes, **parameters: str) -> str:
        """Post a profile and return its id."""
        response = self.post(data, **parameters)
        assert response.status_code == 200, response.text
        return str(body(response)["id"])

    def get(self, path: str, **parameters: str) -> TestResponse:
        return self.client.get(path, query_string=parameters)

    def find(self, **parameters: str) -> TestResponse:
        return self.get(PROFILES_PATH, **{"service": "api", "from": "now-1h", **parameters})

    def found(self, **parameters: str) -> list[str]:
        """Return the ids of the profiles that a find lists."""
        response = self.find(**parameters)
        return [profile["id"] for profile in body(response)] if response.status_code == 200 else []

    def merge(self, **parameters: str) -> TestResponse:
        return self.get(MERGE, **{"service": "api", "type": "cpu", "from": "now-1h", **parameters})


def body(response: TestResponse) -> Any:
    """Return the body in the JSON envelope."""
    assert response.json is not None
    assert response.json["code"] == response.status_code
    return response.json["body"]


def error(response: TestResponse) -> str:
    """Return the message of an error, after checking the envelope. kube-profefe formats the message with ``%``."""
    envelope = json.loads(response.data)
    assert envelope.keys() == {"code", "error", "error_code"}
    assert envelope["code"] == response.status_code >= 400
    assert envelope["error"]
    assert "%" not in response.text
    return str(envelope["error"])


def error_code(response: TestResponse) -> str:
    """Return the stable code of an error, after checking the envelope and that the code is registered."""
    error(response)
    code = str(json.loads(response.data)["error_code"])
    assert code in CODES or code in {Limits.code(name) for name in Limits.__slots__}
    return code


def comments(response: TestResponse) -> list[str]:
    """Return the comments of a pprof."""
    assert response.status_code == 200, response.text
    message = decode(response.data).message
    return [message.string_table[i].decode() for i in message.comment]


def total(response: TestResponse) -> int:
    """Return the sum of a pprof's samples, in its first sample type."""
    assert response.status_code == 200, response.text
    return decode(response.data).totals[0].value
