"""What the log says of a request, of an error, and to whom it belongs; and what it never says."""

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

from profbucket.api.routes import PROFILES
from profbucket.auth import generate_secret
from profbucket.errors import ProfbucketError, StoragePermissionError, Unavailable
from profbucket.ingest.collector import Collector
from profbucket.model.meta import Meta
from profbucket.storage.open import open_storage
from profbucket.telemetry import logs
from profbucket.telemetry.request import RequestRecord, Trace, record_requests
from tests.support.api import Api, pprof
from tests.support.serving import served

TRACE, SPAN = "105445aa7843bc8bf206b12000100000", "00f067aa0ba902b7"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def root() -> Iterator[None]:
    """The loggers that are configured, put back as they were."""
    loggers = [logging.getLogger(name) for name in (None, "profbucket", "gunicorn.error")]
    before = [(logger, logger.handlers[:], logger.level) for logger in loggers]
    yield
    logging.captureWarnings(False)
    for logger, handlers, level in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)


@pytest.fixture
def stream(root: None) -> io.StringIO:
    """What is logged from INFO on, in the project ``shop``."""
    stream = io.StringIO()
    logs.configure("INFO", "shop", stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture
def api() -> Api:
    return Api(open_storage("memory:"))


class TestRequest:
    def test_a_post_is_one_line_with_all_that_is_known_of_it(self, api: Api, stream: io.StringIO) -> None:
        api.post(pprof(), version="secret")
        (line,) = lines(stream)
        assert line["severity"] == "INFO"
        assert line["message"] == f"POST {PROFILES} 200"
        assert (line["service"], line["type"], line["key"]) == ("api", "cpu", "anyone")
        request = line["httpRequest"]
        assert (request["requestMethod"], request["requestUrl"], request["status"]) == ("POST", PROFILES, 200)
        assert request["requestSize"] == str(line["received"]) == str(len(pprof()))
        assert int(request["responseSize"]) == line["sent"] > 0
        assert re.fullmatch(r"\d+\.\d{6}s", request["latency"])
        assert line["milliseconds"] >= 0
        assert "error" not in line

    def test_a_merge_says_how_many_were_found_merged_and_expired(self, api: Api, stream: io.StringIO) -> None:
        ids = [api.posted(pprof(value)) for value in (1, 2, 4)]
        api.storage.bucket.delete(f"{ids[1]}.pb.gz")
        api.merge()
        assert {name: lines(stream)[-1][name] for name in ("found", "merged", "expired")} == {
            "found": 3,
            "merged": 2,
            "expired": 1,
        }

    def test_a_profile_by_its_id_and_a_find_say_of_what(self, api: Api, stream: io.StringIO) -> None:
        profile_id = api.posted(pprof())
        for response in (api.get(f"{PROFILES}/{profile_id}"), api.find(type="cpu")):
            assert response.status_code == 200
            line = lines(stream)[-1]
            assert (line["service"], line["type"]) == ("api", "cpu")

    def test_a_refusal_names_its_error_and_is_no_error_of_ours(self, api: Api, stream: io.StringIO) -> None:
        api.post(b"")
        api.merge(type="trace")
        api.get("/nope")
        assert [(line["severity"], line["error"]) for line in lines(stream)] == [
            ("INFO", "Invalid"),
            ("INFO", "NotMergeable"),
            ("INFO", "NotFound"),
        ]

    def test_no_query_is_logged(self, api: Api, stream: io.StringIO) -> None:
        secret = "of-a-user"
        api.post(pprof(), labels=f"email={secret}", customer=secret)
        api.find(labels=f"email={secret}")
        api.find(labels=f"email={secret}", type="nope")
        api.get("/nope", key=secret)
        assert len(lines(stream)) == 4
        assert secret not in stream.getvalue()

    def test_probes_are_quiet_unless_they_fail(self, api: Api, stream: io.StringIO, root: None) -> None:
        for path in ("/healthz", "/health", "/metrics"):
            assert api.get(path).status_code == 200
        assert not stream.getvalue()
        api.client.post("/healthz")
        assert [line["httpRequest"]["status"] for line in lines(stream)] == [405]

    def test_a_chunked_body_is_counted_as_it_was_read(self, api: Api, stream: io.StringIO) -> None:
        environ = {"wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
        query = f"{PROFILES}?service=api&type=cpu"
        assert api.client.post(query, data=pprof(), environ_overrides=environ).status_code == 200
        assert lines(stream)[0]["received"] == len(pprof())


class TestError:
    def broken(self, error: Exception) -> Api:
        class Broken:
            def write(self, meta: Meta, data: bytes) -> bool:
                raise error

        return Api(open_storage("memory:"), collector=Collector(Broken()))

    def test_an_unexpected_one_is_logged_once_with_its_traceback(self, stream: io.StringIO) -> None:
        headers = {"X-Cloud-Trace-Context": f"{TRACE}/1;o=1"}
        api = self.broken(RuntimeError("as never before"))
        api.client.post(f"{PROFILES}?service=a&type=cpu", data=pprof(), headers=headers)
        error, request = lines(stream)
        assert (error["severity"], request["severity"]) == ("ERROR", "INFO")
        assert error["stack_trace"].startswith("Traceback")
        assert error["stack_trace"].endswith("RuntimeError: as never before")
        assert stream.getvalue().count("as never before") == 1
        assert error["logging.googleapis.com/trace"] == request["logging.googleapis.com/trace"]

    @pytest.mark.parametrize(
        ("error", "severity"),
        [(Unavailable("it is away"), "WARNING"), (StoragePermissionError("role x"), "ERROR")],
    )
    def test_a_storage_that_fails_is_said_in_its_words(
        self, stream: io.StringIO, error: ProfbucketError, severity: str
    ) -> None:
        self.broken(error).post(pprof())
        line = lines(stream)[0]
        assert (line["severity"], line["message"]) == (severity, f"POST {PROFILES}: {error}")
        assert "stack_trace" not in line

    def test_a_librarys_warning_is_a_line_too(self, stream: io.StringIO) -> None:
        logging.getLogger("urllib3.util").warning("retrying %s", "once")
        logging.getLogger("urllib3.util").info("nothing to see")
        (line,) = lines(stream)
        assert (line["severity"], line["message"], line["logger"]) == ("WARNING", "retrying once", "urllib3.util")

    def test_what_ends_without_an_answer_is_reported_as_what_the_server_makes_of_it(self) -> None:
        def broken(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            raise KeyError

        reported: list[RequestRecord] = []
        with pytest.raises(KeyError):
            run_wsgi_app(record_requests(broken, reported.append), create_environ("/x"))
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
    def test_a_request_belongs_to_the_trace_that_its_headers_say(
        self, api: Api, stream: io.StringIO, headers: dict[str, str], span: str | None, sampled: bool
    ) -> None:
        api.client.get("/api/0/version", headers=headers)
        (line,) = lines(stream)
        assert line["logging.googleapis.com/trace"] == f"projects/shop/traces/{TRACE}"
        assert line.get("logging.googleapis.com/spanId") == span
        assert line["logging.googleapis.com/trace_sampled"] is sampled

    def test_what_is_logged_after_a_request_belongs_to_none(self, api: Api, stream: io.StringIO) -> None:
        api.client.get("/api/0/version", headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
        logging.getLogger("profbucket").info("later")
        assert "logging.googleapis.com/trace" not in lines(stream)[1]

    def test_without_a_project_the_trace_is_its_id(self, api: Api, root: None) -> None:
        stream = io.StringIO()
        logs.configure(stream=stream)
        api.client.get("/api/0/version", headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
        assert lines(stream)[0]["logging.googleapis.com/trace"] == TRACE

    @given(st.text(max_size=80), st.text(max_size=80))
    def test_headers_that_make_no_sense_are_no_trace(self, cloud: str, parent: str) -> None:
        trace = Trace.from_headers(cloud, parent)
        assert trace == Trace() or re.fullmatch("[0-9a-f]{32}", trace.trace_id)


class TestLines:
    @given(st.text(), st.text())
    def test_whatever_is_in_a_request_it_is_one_line_of_json(self, path: str, service: str) -> None:
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
        ids=["a secret", "a password", "a user", "a key", "an address"],
    )
    def test_what_slips_into_a_text_is_taken_out(self, text: str, secret: str) -> None:
        """Keys, userinfo and queries, in a message or a traceback, of ours or of a library."""
        try:
            raise ValueError(text.format(secret))
        except ValueError:
            failure = sys.exc_info()
        for formatter in (logs.JsonFormatter(), logs.PlainFormatter()):
            record = logging.LogRecord("x", logging.ERROR, "", 0, text.format(secret), (), failure)
            formatted = formatter.format(record)
            assert secret not in formatted
            assert formatted.count(text.partition("{}")[0][:9]) == 2

    def test_on_a_terminal_a_request_is_a_line_for_a_person(self, api: Api, root: None) -> None:
        stream = Terminal()
        logs.configure("DEBUG", stream=stream)
        api.posted(pprof())
        api.get("/healthz")
        first, second = stream.getvalue().splitlines()
        assert re.fullmatch(
            rf"\d\d:\d\d:\d\d POST {PROFILES} 200 key=anyone service=api type=cpu received=\d+ sent=\d+ "
            r"milliseconds=\d.*",
            first,
        )
        assert " DEBUG GET /healthz 200 " in second

    def test_a_terminal_is_not_steered_by_a_path(self, api: Api, root: None) -> None:
        stream = Terminal()
        logs.configure(stream=stream)
        api.get("/%1b[2J%0aX")
        assert "\x1b" not in stream.getvalue()
        assert stream.getvalue().count("\n") == 1

    def test_a_level_above_info_leaves_the_requests_out(self, api: Api, root: None) -> None:
        stream = io.StringIO()
        logs.configure("WARNING", stream=stream)
        api.post(pprof())
        assert not stream.getvalue()


def test_a_served_collector_logs_json_and_only_once(tmp_path: Path) -> None:
    """... where its stderr is a file, as in the cloud."""
    log = tmp_path / "log"
    with served(f"file://{tmp_path}/profiles", log) as url:
        for _ in range(3):
            urlopen(f"{url}/api/0/version").close()
    requests = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["message"] for line in requests] == ["GET /api/0/version 200"] * 4  # one to see whether it is up


def test_the_level_is_a_setting(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with served(f"file://{tmp_path}/profiles", log, PROFBUCKET_LOG_LEVEL="warning") as url:
        urlopen(f"{url}/api/0/version").close()
    assert log.read_text() == ""
