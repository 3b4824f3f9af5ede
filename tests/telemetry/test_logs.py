"""Log lines of requests and errors, the traces they belong to, and the secrets they never contain."""

import io
import json
import logging
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import create_environ, run_wsgi_app

from profbucket.auth import generate_secret
from profbucket.errors import ProfbucketError, StoragePermissionError, Unavailable
from profbucket.ingest.collector import Collector
from profbucket.model.form import PROFILES_PATH
from profbucket.model.meta import Meta
from profbucket.storage.open import open_storage
from profbucket.storage.store import Writer
from profbucket.telemetry import logs
from profbucket.telemetry.request import RequestRecord, Trace, record_requests
from tests.support.api import NOW, Api, pprof
from tests.support.serving import served

TRACE, SPAN = "105445aa7843bc8bf206b12000100000", "00f067aa0ba902b7"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def restore_loggers() -> Iterator[None]:
    """Restore the loggers that ``configure`` changes."""
    loggers = [logging.getLogger(name) for name in (None, "profbucket", "gunicorn.error")]
    before = [(logger, logger.handlers[:], logger.level) for logger in loggers]
    yield
    logging.captureWarnings(False)
    for logger, handlers, level in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)


@pytest.fixture
def stream(restore_loggers: None) -> io.StringIO:
    """The log from INFO on, in the project ``shop``."""
    stream = io.StringIO()
    logs.configure("INFO", "shop", stream)
    return stream


@pytest.fixture
def debug(stream: io.StringIO) -> None:
    """Log from DEBUG on."""
    logs.configure("DEBUG", "shop", stream)


def parse_lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture
def api() -> Api:
    return Api(open_storage("memory:"))


class TestRequest:
    def test_a_stored_post_is_one_line_at_debug_with_its_details(
        self, api: Api, stream: io.StringIO, debug: None
    ) -> None:
        api.post(pprof(), version="secret")
        (line,) = parse_lines(stream)
        assert line["severity"] == "DEBUG"
        assert line["message"] == f"POST {PROFILES_PATH} 200"
        assert (line["service"], line["type"], line["key"]) == ("api", "cpu", "anyone")
        request = line["httpRequest"]
        assert (request["requestMethod"], request["requestUrl"], request["status"]) == ("POST", PROFILES_PATH, 200)
        assert request["requestSize"] == str(line["received"]) == str(len(pprof()))
        assert int(request["responseSize"]) == line["sent"] > 0
        assert re.fullmatch(r"\d+\.\d{6}s", request["latency"])
        assert line["milliseconds"] >= 0
        assert "error" not in line

    def test_a_merge_counts_profiles_found_merged_and_expired(self, api: Api, stream: io.StringIO) -> None:
        ids = [api.posted(pprof(value)) for value in (1, 2, 4)]
        api.storage.bucket.delete(f"{ids[1]}.pb.gz")
        api.merge()
        assert {name: parse_lines(stream)[-1][name] for name in ("found", "merged", "expired")} == {
            "found": 3,
            "merged": 2,
            "expired": 1,
        }

    def test_a_fetch_and_a_find_name_service_and_type(self, api: Api, stream: io.StringIO) -> None:
        profile_id = api.posted(pprof())
        for response in (api.get(f"{PROFILES_PATH}/{profile_id}"), api.find(type="cpu")):
            assert response.status_code == 200
            line = parse_lines(stream)[-1]
            assert (line["service"], line["type"]) == ("api", "cpu")

    @pytest.mark.parametrize(
        ("method", "fields", "logged"),
        [
            ("SelectMergeStacktraces", {"labelSelector": '{service_name="api"}'}, ("api", "cpu", 2)),
            ("SelectMergeProfile", {"labelSelector": '{service_name="api",v="1"}'}, ("api", "cpu", 1)),
            ("SelectSeries", {"labelSelector": '{service_name=~"a.*"}', "step": 15}, ("api", "cpu", None)),
            ("SelectSeries", {"labelSelector": '{service_name="none"}', "step": 15}, ("none", "", None)),
            ("Series", {"matchers": ['{service_name="api"}', '{service_name="api",v="1"}']}, ("api", "", None)),
            ("Series", {"matchers": ['{service_name="api"}', "{}"]}, ("", "", None)),
        ],
    )
    def test_a_call_of_grafana_names_service_and_type(
        self, api: Api, stream: io.StringIO, method: str, fields: dict[str, Any], logged: tuple[str, str, int]
    ) -> None:
        for version in ("1", "2"):
            api.posted(pprof(5, at=NOW), v=version)
        type_id = (
            {"profileTypeID": "process_cpu:cpu:nanoseconds:cpu:nanoseconds"} if "labelSelector" in fields else {}
        )
        body = {"start": NOW // 10**6 - 60_000, "end": NOW // 10**6 + 60_000, **type_id, **fields}
        assert api.client.post(f"/querier.v1.QuerierService/{method}", json=body).status_code == 200
        line = parse_lines(stream)[-1]
        assert (line.get("service", ""), line.get("type", ""), line.get("found")) == logged
        assert '"1"' not in stream.getvalue()

    def test_a_client_error_is_named_and_logged_at_info(self, api: Api, stream: io.StringIO) -> None:
        api.post(b"")
        api.merge(type="trace")
        api.get("/nope")
        assert [(line["severity"], line["error"]) for line in parse_lines(stream)] == [
            ("INFO", "Invalid"),
            ("INFO", "NotMergeable"),
            ("INFO", "NotFound"),
        ]

    def test_no_query_string_is_logged(self, api: Api, stream: io.StringIO, debug: None) -> None:
        secret = "of-a-user"
        api.post(pprof(), labels=f"email={secret}", customer=secret)
        api.find(labels=f"email={secret}")
        api.find(labels=f"email={secret}", type="nope")
        api.get("/nope", key=secret)
        assert len(parse_lines(stream)) == 4
        assert secret not in stream.getvalue()

    def test_stored_posts_are_not_logged_unless_they_fail(self, api: Api, stream: io.StringIO) -> None:
        """Lines are billed, and posts come by the million."""
        ingest = {"name": "api{}", "from": "1", "until": "2", "format": "folded"}
        assert api.post(pprof()).status_code == 200
        assert api.client.post("/ingest", query_string=ingest, data=b"main 1\n").status_code == 200
        assert not stream.getvalue()
        api.post(b"")
        assert api.find().status_code == 200
        assert [line["httpRequest"]["status"] for line in parse_lines(stream)] == [400, 200]

    def test_probes_are_not_logged_unless_they_fail(
        self, api: Api, stream: io.StringIO, restore_loggers: None
    ) -> None:
        for path in ("/healthz", "/health", "/metrics"):
            assert api.get(path).status_code == 200
        assert not stream.getvalue()
        api.client.post("/healthz")
        assert [line["httpRequest"]["status"] for line in parse_lines(stream)] == [405]

    def test_the_size_of_a_chunked_body_is_logged(self, api: Api, stream: io.StringIO, debug: None) -> None:
        environ = {"wsgi.input_terminated": True, "CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}
        query = f"{PROFILES_PATH}?service=api&type=cpu"
        assert api.client.post(query, data=pprof(), environ_overrides=environ).status_code == 200
        assert parse_lines(stream)[0]["received"] == len(pprof())


class TestError:
    def make_failing(self, error: Exception) -> Api:
        """Return an API whose storage raises *error*."""

        class FailingStorage(Writer):
            def write(self, meta: Meta, data: bytes) -> bool:
                raise error

        return Api(open_storage("memory:"), collector=Collector(FailingStorage()))

    def test_an_unexpected_error_is_logged_once_with_its_traceback(self, stream: io.StringIO) -> None:
        headers = {"X-Cloud-Trace-Context": f"{TRACE}/1;o=1"}
        api = self.make_failing(RuntimeError("unexpected"))
        api.client.post(f"{PROFILES_PATH}?service=a&type=cpu", data=pprof(), headers=headers)
        error, request = parse_lines(stream)
        assert (error["severity"], request["severity"]) == ("ERROR", "INFO")
        assert error["stack_trace"].startswith("Traceback")
        assert error["stack_trace"].endswith("RuntimeError: unexpected")
        assert stream.getvalue().count("unexpected") == 1
        assert error["logging.googleapis.com/trace"] == request["logging.googleapis.com/trace"]

    @pytest.mark.parametrize(
        ("error", "severity"),
        [(Unavailable("no connection"), "WARNING"), (StoragePermissionError("role x"), "ERROR")],
    )
    def test_a_failing_storage_is_logged_without_a_traceback(
        self, stream: io.StringIO, error: ProfbucketError, severity: str
    ) -> None:
        self.make_failing(error).post(pprof())
        line = parse_lines(stream)[0]
        assert (line["severity"], line["message"]) == (severity, f"POST {PROFILES_PATH}: {error}")
        assert "stack_trace" not in line

    def test_warnings_of_libraries_are_logged(self, stream: io.StringIO) -> None:
        logging.getLogger("urllib3.util").warning("retrying %s", "once")
        logging.getLogger("urllib3.util").info("nothing to see")
        (line,) = parse_lines(stream)
        assert (line["severity"], line["message"], line["logger"]) == ("WARNING", "retrying once", "urllib3.util")

    def test_an_exception_without_a_response_is_reported_as_500(self) -> None:
        def failing_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            raise KeyError

        reported: list[RequestRecord] = []
        with pytest.raises(KeyError):
            run_wsgi_app(record_requests(failing_app, reported.append), create_environ("/x"))
        assert [(record.path, record.status) for record in reported] == [("/x", 500)]


class TestTrace:
    @pytest.mark.parametrize(
        ("headers", "span", "sampled"),
        [
            ({"X-Cloud-Trace-Context": f"{TRACE}/255;o=1"}, "00000000000000ff", True),
            ({"X-Cloud-Trace-Context": f"{TRACE.upper()}/255"}, "00000000000000ff", False),
            ({"X-Cloud-Trace-Context": f"{TRACE}/{2**64 - 1};o=0"}, "f" * 16, False),
            ({"X-Cloud-Trace-Context": TRACE}, None, False),
            ({"X-Cloud-Trace-Context": f"{TRACE}/{2**64};o=1"}, None, True),
            ({"traceparent": f"00-{TRACE}-{SPAN}-01"}, SPAN, True),
            ({"traceparent": f"00-{TRACE}-{SPAN}-00"}, SPAN, False),
            ({"traceparent": f"00-{TRACE}-{SPAN}-01", "X-Cloud-Trace-Context": f"{'0' * 32}/1"}, SPAN, True),
        ],
    )
    def test_a_request_belongs_to_the_trace_in_its_headers(
        self, api: Api, stream: io.StringIO, headers: dict[str, str], span: str | None, sampled: bool
    ) -> None:
        api.client.get("/api/0/version", headers=headers)
        (line,) = parse_lines(stream)
        assert line["logging.googleapis.com/trace"] == f"projects/shop/traces/{TRACE}"
        assert line.get("logging.googleapis.com/spanId") == span
        assert line["logging.googleapis.com/trace_sampled"] is sampled

    def test_a_line_after_a_request_belongs_to_no_trace(self, api: Api, stream: io.StringIO) -> None:
        api.client.get("/api/0/version", headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
        logging.getLogger("profbucket").info("later")
        assert "logging.googleapis.com/trace" not in parse_lines(stream)[1]

    def test_without_a_project_the_trace_is_only_its_id(self, api: Api, restore_loggers: None) -> None:
        stream = io.StringIO()
        logs.configure(stream=stream)
        api.client.get("/api/0/version", headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
        assert parse_lines(stream)[0]["logging.googleapis.com/trace"] == TRACE

    @given(st.text(max_size=80), st.text(max_size=80))
    def test_malformed_headers_are_no_trace(self, cloud: str, parent: str) -> None:
        trace = Trace.from_headers(cloud, parent)
        assert trace == Trace() or re.fullmatch("[0-9a-f]{32}", trace.trace_id)


class TestLines:
    @given(st.text(), st.text())
    def test_any_request_is_one_line_of_json(self, path: str, service: str) -> None:
        record = logging.LogRecord("profbucket", logging.INFO, "", 0, "%s", (path,), None)
        record.request_record = RequestRecord(method="GET", path=path, service=service, counts={"found": 1})
        text = logs.JsonFormatter().format(record)
        assert "\n" not in text
        assert text.encode()
        assert json.loads(text)["found"] == 1

    @pytest.mark.parametrize(
        ("text", "secret"),
        [
            ("the key {} is wrong", generate_secret()),
            ("see https://x:{}@host/api", "pass"),
            ("see https://{}@host/api", "pass"),
            ("GET /api/0/profiles?service=a&key={}", "of-a-user"),
            ("Error handling request /merge?service=a&email={} b", "of-a-user"),
        ],
        ids=["key", "password", "user", "query", "query in a sentence"],
    )
    def test_secrets_in_texts_are_redacted(self, text: str, secret: str) -> None:
        """Keys, userinfo and query strings, in the message or traceback of any library."""
        try:
            raise ValueError(text.format(secret))
        except ValueError:
            exc_info = sys.exc_info()
        for formatter in (logs.JsonFormatter(), logs.PlainFormatter()):
            record = logging.LogRecord("x", logging.ERROR, "", 0, text.format(secret), (), exc_info)
            formatted = formatter.format(record)
            assert secret not in formatted
            assert formatted.count(text.partition("{}")[0][:9]) == 2

    def test_on_a_terminal_a_request_is_a_plain_line(self, api: Api, restore_loggers: None) -> None:
        stream = Terminal()
        logs.configure("DEBUG", stream=stream)
        api.posted(pprof())
        api.get("/healthz")
        first, second = stream.getvalue().splitlines()
        assert re.fullmatch(
            rf"\d\d:\d\d:\d\d DEBUG POST {PROFILES_PATH} 200 key=anyone service=api type=cpu received=\d+ "
            r"sent=\d+ milliseconds=\d.*",
            first,
        )
        assert " DEBUG GET /healthz 200 " in second

    def test_a_path_cannot_control_the_terminal(self, api: Api, restore_loggers: None) -> None:
        stream = Terminal()
        logs.configure(stream=stream)
        api.get("/%1b[2J%0aX")
        assert "\x1b" not in stream.getvalue()
        assert stream.getvalue().count("\n") == 1

    def test_at_a_level_above_info_requests_are_not_logged(self, api: Api, restore_loggers: None) -> None:
        stream = io.StringIO()
        logs.configure("WARNING", stream=stream)
        api.post(pprof())
        assert not stream.getvalue()


def test_a_served_collector_logs_each_request_once_as_json(tmp_path: Path) -> None:
    """Its stderr is a file, as in the cloud."""
    log = tmp_path / "log"
    with served(f"file://{tmp_path}/profiles", log) as url:
        for _ in range(3):
            urlopen(f"{url}/api/0/version").close()
    requests = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["message"] for line in requests] == ["GET /api/0/version 200"] * 4  # one checks whether it is up


def test_the_level_can_be_set(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with served(f"file://{tmp_path}/profiles", log, PROFBUCKET_LOG_LEVEL="warning") as url:
        urlopen(f"{url}/api/0/version").close()
    assert log.read_text() == ""
