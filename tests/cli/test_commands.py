"""The command line, as processes: what a person or a script sees of it."""

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.canonical import canonical
from tests.support.go_tool import GoPprof, Run, run
from tests.support.paths import ROOT
from tests.support.profiles import Sample as Counted
from tests.support.profiles import encode, profile, stack
from tests.support.serving import TIMEOUT_SECONDS, running, served

SCRIPTS = Path(sysconfig.get_path("scripts"))
PROGRAM = str(SCRIPTS / "profbucket")
DATA = ROOT / "tests" / "data"
CPU = sorted((DATA / "shop-0.0.1").glob("cpu-?.pb.gz"))
HEAP = DATA / "shop-0.0.1" / "heap-1.pb.gz"
TRACE = DATA / "shop-0.0.1" / "trace-1.trace"
Command = tuple[str | Path, ...]
ALWAYS = ("--from", "0")


def environment(**settings: str) -> dict[str, str]:
    """The tests' own, without what it says of a collector."""
    ours = ("PROFBUCKET_", "FUNCTION_", "K_", "STORAGE_URL", "THREADS", "PORT")
    return {**{k: v for k, v in os.environ.items() if not k.startswith(ours)}, **settings}


def profbucket(*args: str | Path, **settings: str) -> Run:
    return run(PROGRAM, *map(str, args), environment=environment(**settings))


def ids_of(done: Run) -> list[str]:
    return done.check().text.split()


@pytest.fixture(scope="module", params=["--url", "--storage"])
def where(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options that lead to a collector, and those that open a storage."""
    if request.param == "--url":
        return ["--url", str(request.getfixturevalue("collector"))]
    return ["--storage", (tmp_path_factory.mktemp("direct") / "profiles").as_uri()]


# serve


@dataclass
class Serving:
    process: "subprocess.Popen[str]"
    said: str

    @property
    def url(self) -> str:
        found = re.search(r"http://localhost:\d+", self.said)
        assert found
        return found[0]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def commands(self) -> list[str]:
        return [line.strip() for line in self.said.splitlines() if line.startswith("  ")]

    def is_alive(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("GET", "/api/0/version")
            return connection.getresponse().status == 200
        except ConnectionError:
            return False
        finally:
            connection.close()

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT_SECONDS)


@contextmanager
def serving(storage: str, *args: str, **settings: str) -> Iterator[Serving]:
    """``profbucket serve`` on a free port, once it has said that it is up."""
    process = subprocess.Popen(
        [PROGRAM, "serve", "--port", "0", "--storage", storage, *args],
        cwd=ROOT,
        env=environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    try:
        said = ""
        while " top " not in said:
            line = process.stdout.readline()
            assert line, f"it ended with {process.wait(TIMEOUT_SECONDS)}:\n{said}"
            said += line
        yield Serving(process, said)
    finally:
        process.terminate()
        process.wait(TIMEOUT_SECONDS)
        process.stdout.close()


def test_the_commands_that_serve_prints_work(tmp_path: Path, go_pprof: GoPprof) -> None:
    """curl and push store the same profile, ``go tool pprof`` and top show it: the commands run as printed."""
    with serving((tmp_path / "new").as_uri()) as collector:
        curl, push, pprof, top = collector.commands
        path = f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"
        told = {**go_pprof.go.environment, **environment(PATH=path), "PPROF_TMPDIR": str(tmp_path)}
        outputs = [
            run("sh", "-c", command, cwd=ROOT, environment=told).check().text
            for command in (curl, push, pprof, top)
        ]
        assert json.loads(outputs[0])["body"]["id"] == outputs[1].strip()
        assert "main.priceCart" in outputs[2]
        assert outputs[3] == outputs[2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_serve_ends_with_a_signal_and_leaves_nothing_behind(number: int) -> None:
    """Ctrl-C, kill and the end of the terminal end it with code 0, and nobody listens any more."""
    with serving("memory:") as collector:
        assert collector.is_alive()
        assert collector.end(number) == 0
        assert not collector.is_alive()


def test_serve_over_a_directory_makes_blocks_by_itself(tmp_path: Path) -> None:
    directory = tmp_path / "profiles"
    profbucket(*PUSH, "--storage", directory.as_uri()).check()
    with serving(directory.as_uri()) as collector:
        assert collector.process.stdout
        impatient = threading.Timer(TIMEOUT_SECONDS, collector.process.terminate)
        impatient.start()
        while "compaction: " not in (line := collector.process.stdout.readline()):
            assert line
        impatient.cancel()
        assert json.loads(line)["message"].startswith("compaction: 1 blocks made of profiles, ")
        assert collector.is_alive()
        assert collector.end(signal.SIGTERM) == 0
    assert len(list((directory / "_/blocks/s/cpu").glob("*.block"))) == 1


def test_serve_notices_that_its_child_died() -> None:
    """Where the server dies, ``profbucket serve`` ends with its code."""
    with serving("memory:") as collector:
        children = Path(f"/proc/{collector.process.pid}/task/{collector.process.pid}/children")
        os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
        assert collector.process.wait(TIMEOUT_SECONDS) == 128 + signal.SIGKILL


def test_a_port_in_use_is_refused_with_a_sentence() -> None:
    with serving("memory:") as collector:
        done = profbucket("serve", "--port", str(collector.port), "--storage", "memory:")
        assert (done.returncode, done.text) == (1, "")
        assert re.fullmatch(rf"profbucket: .*port {collector.port}: .*in use.*--port.*\n", done.stderr)
        assert collector.is_alive()


@pytest.mark.parametrize(
    ("storage", "settings", "named"),
    [
        ("s4://bucket", {}, "s4://bucket"),
        ("file:///proc/nowhere", {}, "/proc/nowhere"),
        ("memory:", {"PROFBUCKET_MAX_MERGE": "many"}, "PROFBUCKET_MAX_MERGE"),
    ],
)
def test_serve_refuses_what_cannot_work(storage: str, settings: dict[str, str], named: str) -> None:
    """Settings and storage are looked at first; the sentence names what is wrong with them."""
    done = profbucket("serve", "--port", "0", "--storage", storage, **settings)
    assert (done.returncode, done.text) == (1, "")
    assert re.fullmatch(rf"profbucket: .*{re.escape(named)}.*\n", done.stderr)


def test_serve_says_that_its_server_died() -> None:
    """A server that ends before it answers is not waited for."""
    done = profbucket("serve", "--port", "0", "--storage", "memory:", THREADS="many")
    assert done.returncode == 1
    assert "profbucket: the collector ended with code 1 before it answered\n" in done.stderr


def test_serve_with_keys_prints_commands_that_send_one() -> None:
    """Where a key is needed, every command that is printed takes it from PROFBUCKET_KEY."""
    with serving("memory:", PROFBUCKET_KEYS=keys("secret")) as collector:
        curl, _, pprof, _ = collector.commands
        assert "PROFBUCKET_KEY" in collector.said.partition("\n\n")[0]
        assert '"Authorization: Bearer $PROFBUCKET_KEY"' in curl
        assert '"http://x:$PROFBUCKET_KEY@localhost' in pprof


# push, find, get, services, merge, top


def keys(secret: str) -> str:
    hashed = sha256(secret.encode()).hexdigest()
    return json.dumps([{"name": "all", "sha256": hashed, "scopes": ["read", "write"]}])


def test_what_is_pushed_is_found_fetched_merged_and_shown(
    where: list[str], tmp_path: Path, go_pprof: GoPprof
) -> None:
    """A round through all commands, over HTTP and on a storage: ids, bytes and values are those of the files."""
    told = ("--service", "round", "--type", "cpu")
    ids = ids_of(profbucket("push", *CPU, *told, "--label", "version=1", *where))
    assert len(set(ids)) == 3
    assert ids_of(profbucket("push", CPU[0], *told, "--label", "version=1", *where)) == ids[:1]
    assert "round" in profbucket("services", *where).check().text.splitlines()

    found = [json.loads(line) for line in profbucket("find", *told, *ALWAYS, "--json", *where).text.splitlines()]
    assert [one["id"] for one in found] == sorted(ids)
    assert all(one["labels"] == [{"key": "version", "value": "1"}] for one in found)
    table = profbucket("find", *told, *ALWAYS, *where).check().text.splitlines()
    assert table[0].split() == ["CREATED", "TYPE", "BYTES", "LABELS", "ID"]
    assert [line.split()[2:] for line in table[1:]] == [
        [str(one["size"]), "version=1", str(one["id"])] for one in found
    ]

    for profile_id, file in zip(ids, CPU, strict=True):
        assert profbucket("get", profile_id, *where).check().stdout == file.read_bytes()

    expected = tmp_path / "merged.pb.gz"
    profbucket("merge", *CPU, "-o", expected).check()
    by_query = profbucket("merge", *told, *ALWAYS, *where).check().stdout
    by_ids = profbucket("merge", *ids, *where).check().stdout
    assert canonical(by_query).samples == canonical(by_ids).samples == canonical(expected.read_bytes()).samples

    shown = profbucket("top", *told, *ALWAYS, *where).check().text
    file = tmp_path / "by-query.pb.gz"
    file.write_bytes(by_query)
    assert shown == go_pprof("-top", file).check().text
    assert profbucket("top", ids[0], *where).check().text == go_pprof("-top", CPU[0]).check().text


def test_labels_keep_every_character(where: list[str]) -> None:
    """What is typed behind --label is what is stored and what is asked for, whatever characters it has."""
    typed = ["path=/a,b=c%2C", "größe=µ +~!", "tilde=~x"]
    told = ("--service", "labels", "--type", "heap")
    labels = [arg for label in typed for arg in ("--label", label)]
    profbucket("push", HEAP, *told, *labels, *where).check()
    found = json.loads(profbucket("find", *told, *ALWAYS, *labels[:4], "--json", *where).check().text)
    assert {f"{label['key']}={label['value']}" for label in found["labels"]} == set(typed)


def test_labels_select(where: list[str]) -> None:
    """--label takes the four conditions of the API."""
    for file, zone in zip(CPU, ("eu-1", "eu-2", "us-1"), strict=True):
        profbucket("push", file, "--service", "zones", "--type", "cpu", "--label", f"zone={zone}", *where).check()
    expected = {"zone=eu-1": 1, "zone!=eu-1": 2, "zone=~eu-.*": 2, "zone!~eu-.*": 1, "zone=eu": 0}
    for condition, count in expected.items():
        done = profbucket("find", "--service", "zones", *ALWAYS, "--json", "--label", condition, *where)
        assert len(done.text.splitlines()) == count, condition
        assert done.returncode == (0 if count else 1)


def test_find_follows_pages_to_its_limit(tmp_path: Path) -> None:
    """Where an answer holds two profiles at most, find asks on: all are listed, or as many as it is told."""
    storage = (tmp_path / "profiles").as_uri()
    files = sorted((DATA / "shop-0.0.1").glob("heap-?.pb.gz")) + sorted((DATA / "shop-0.0.2").glob("heap-?.pb.gz"))
    ids = ids_of(profbucket("push", *files[:5], "--service", "s", "--type", "heap", "--storage", storage))
    small = {"PROFBUCKET_MAX_FIND": "2"}
    with served(storage, tmp_path / "log", PROFBUCKET_MAX_FIND="2") as url:
        for place in (["--url", url], ["--storage", storage]):
            find = ("find", "--service", "s", *ALWAYS, "--json", *place)
            done = profbucket(*find, **small).check()
            assert [json.loads(line)["id"] for line in done.text.splitlines()] == sorted(ids)
            assert done.stderr == ""
            part = profbucket(*find, "--limit", "3", **small).check()
            assert part.text.splitlines() == done.text.splitlines()[:3]
            assert "--limit" in part.stderr


def test_a_key_opens_a_collector() -> None:
    """As --key, as PROFBUCKET_KEY and as the password of the URL; without one the collector says what it needs."""
    with serving("memory:", PROFBUCKET_KEYS=keys("se%cret")) as collector:
        url = collector.url
        push = ("push", CPU[0], "--service", "s", "--type", "cpu")
        refused = profbucket(*push, "--url", url)
        assert (refused.returncode, refused.text) == (1, "")
        assert "key" in refused.stderr
        by_url = url.replace("//", "//x:se%25cret@")
        stored = profbucket(*push, "--url", url, "--key", "se%cret").check().text
        assert stored == profbucket(*push, "--url", url, PROFBUCKET_KEY="se%cret").check().text
        assert stored == profbucket(*push, PROFBUCKET_URL=by_url).check().text
    gone = profbucket(*push, PROFBUCKET_URL=by_url)
    assert "Connection refused" in gone.stderr
    assert "cret" not in gone.stderr


def test_a_file_is_dated_by_itself(where: list[str], tmp_path: Path) -> None:
    """A profile that does not say when it was taken is as old as its file, or as --created-at says."""
    file = tmp_path / "undated.pb.gz"
    file.write_bytes(encode(profile(Counted(stack("main"), (1, 1)), time_nanos=0)))
    os.utime(file, ns=(0, 1_600_000_000_123_456_789))
    push: Command = ("push", file, "--service", "dated", "--type", "cpu", *where)
    assert ids_of(profbucket(*push))[0].startswith("dated/cpu/20200913T122640.123456789Z-")
    assert ids_of(profbucket(*push, "--created-at", "2001-02-03T04:05:06Z"))[0].startswith(
        "dated/cpu/20010203T040506.000000000Z-"
    )


def test_one_bad_file_does_not_stop_the_others(where: list[str], tmp_path: Path) -> None:
    """Each failure is a line that names its file, and the exit code is 1; what can be stored is."""
    bad = tmp_path / "bad.pb.gz"
    bad.write_bytes(b"not a profile")
    missing = tmp_path / "missing.pb.gz"
    done = profbucket("push", CPU[0], bad, missing, CPU[1], "--service", "some", "--type", "cpu", *where)
    assert done.returncode == 1
    assert len(done.text.split()) == 2
    failures = done.stderr.splitlines()
    assert len(failures) == 3
    assert f"{bad}: " in failures[0]
    assert "not a pprof" in failures[0]
    assert failures[1] == f"profbucket: {missing}: No such file or directory"
    assert failures[2] == "profbucket: 2 of 4 files are not stored"


# retries


@dataclass
class Stub:
    """A collector that answers as it is told, and remembers what it was asked."""

    answers: list[tuple[int, dict[str, str]]]
    asked: list[tuple[str, bytes]] = field(default_factory=list)
    url: str = ""

    @property
    def bodies(self) -> list[bytes]:
        return [body for _, body in self.asked]


STORED = {"id": "s/cpu/20261122T225107.123456789Z-0123456789abcdef", "type": "cpu", "service": "s", "labels": []}
STORED |= {"created_at": "2026-11-22T22:51:07Z", "size": "1", "totals": []}


@contextmanager
def stub(*answers: tuple[int, dict[str, str]]) -> Iterator[Stub]:
    """Serve *answers*, status and headers of each, the last one for ever; status 0 hangs up."""
    state = Stub(list(answers))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.asked.append((self.path, body))
            status, headers = state.answers.pop(0) if len(state.answers) > 1 else state.answers[0]
            self.close_connection = status == 0
            if status == 0:
                return
            answer = {"code": status, "body": STORED} if status == 200 else {"code": status, "error": "so it is"}
            data = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        with running(server):
            yield state


SOON = {"Retry-After": "0"}
PUSH = ("push", CPU[0], "--service", "s", "--type", "cpu")


@pytest.mark.parametrize("failure", [(503, SOON), (500, SOON), (502, {}), (0, {})])
def test_push_tries_again(failure: tuple[int, dict[str, str]]) -> None:
    """After failures of the collector and of the network, with the same parameters and the same bytes."""
    with stub(failure, failure, (200, {})) as collector:
        assert ids_of(profbucket(*PUSH, "--url", collector.url)) == [STORED["id"]]
        assert collector.bodies == [CPU[0].read_bytes()] * 3
        assert len(set(collector.asked)) == 1


@pytest.mark.parametrize("status", [400, 401, 413, 429])
def test_a_refusal_is_final(status: int) -> None:
    """What the collector refuses is not sent again, even if it says when."""
    with stub((status, SOON)) as collector:
        done = profbucket(*PUSH, "--url", collector.url)
        assert (done.returncode, done.stderr) == (1, f"profbucket: {CPU[0]}: so it is\n")
        assert len(collector.asked) == 1


def test_push_gives_up() -> None:
    """A collector that always fails is not asked for ever, and its sentence is shown."""
    with stub((503, SOON)) as collector:
        done = profbucket(*PUSH, "--url", collector.url)
        assert (done.returncode, done.stderr) == (1, f"profbucket: {CPU[0]}: so it is\n")
        assert len(collector.asked) == 6


def test_a_time_goes_with_every_push() -> None:
    """Even a trace, whose time its file decides, is the same profile when it is sent again."""
    with stub((200, {})) as collector:
        profbucket("push", TRACE, "--service", "s", "--type", "trace", "--url", collector.url).check()
        sent = parse_qs(urlsplit(collector.asked[0][0]).query)
        assert sent["created_at"] == [f"{TRACE.stat().st_mtime_ns / 10**9:.9f}"[:10] + sent["created_at"][0][10:]]


@pytest.mark.parametrize("answer", [b"<html>", b"{}", b'{"body": [{"id": 7}]}', b'{"body": [{"id": "x"}]}'])
def test_another_server_is_recognised(answer: bytes, tmp_path: Path) -> None:
    """Where something else answers, a sentence says so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        done = profbucket("find", "--service", "s", "--url", f"http://127.0.0.1:{server.server_port}")
        thread.join()
    assert done.returncode == 1
    assert "does not answer as a collector does" in done.stderr
    assert "Traceback" not in done.stderr


# Local files


def test_merge_of_files_is_that_of_pprof(go_pprof: GoPprof, tmp_path: Path) -> None:
    """``profbucket merge -o`` takes the place of ``go tool pprof -proto -output``."""
    ours, theirs = tmp_path / "ours.pb.gz", tmp_path / "theirs.pb.gz"
    profbucket("merge", "-o", ours, *CPU).check()
    go_pprof("-proto", "-symbolize=none", "-output", theirs, *CPU).check()
    assert canonical(ours.read_bytes()) == canonical(theirs.read_bytes())


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([], []),
        (["-n", "5", "--sort", "cum"], ["-nodecount=5", "-cum"]),
        (["--sample-type", "alloc_space", "--all"], ["-alloc_space", "-nodefraction=0"]),
    ],
)
def test_top_of_files_is_that_of_pprof(go_pprof: GoPprof, ours: list[str], theirs: list[str]) -> None:
    assert profbucket("top", *ours, HEAP).check().text == go_pprof("-top", *theirs, HEAP).check().text


def test_files_may_come_through_a_pipe() -> None:
    """``-`` is standard input and standard output."""
    with CPU[0].open("rb") as stream:
        done = subprocess.run([PROGRAM, "merge", "-", "-o", "-"], stdin=stream, capture_output=True, check=True)
    assert canonical(done.stdout).samples == canonical(CPU[0].read_bytes()).samples


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    """A merge that fails names the file and leaves no output behind."""
    bad = tmp_path / "bad.pb.gz"
    bad.write_bytes(b"not a profile")
    output = tmp_path / "out.pb.gz"
    done = profbucket("merge", *CPU, bad, "-o", output)
    assert done.returncode == 1
    assert done.stderr.startswith(f"profbucket: {bad}: not a pprof")
    assert not output.exists()


def test_names_in_a_profile_do_not_reach_the_terminal_raw(tmp_path: Path) -> None:
    """Function names come from strangers; what would move a terminal's cursor is shown as a replacement."""
    file = tmp_path / "evil.pb.gz"
    file.write_bytes(encode(profile(Counted(stack("a\x1b[2Jb\rc"), (1, 1)))))
    assert "a\N{REPLACEMENT CHARACTER}[2Jb\N{REPLACEMENT CHARACTER}c" in profbucket("top", file).check().text


# What goes wrong


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (["find"], 2, "--service"),
        (["find", "--service", "s", "--type", "brightness"], 2, "brightness"),
        (["find", "--service", "s", "--from", "yesterday", "--storage", "memory:"], 1, "yesterday"),
        (["find", "--service", "s", "--from", "now", "--to", "now-1h", "--storage", "memory:"], 1, "--from"),
        (["find", "--service", "s", "--label", "x", "--storage", "memory:"], 1, "'x'"),
        (["find", "--service", "s", "--label", "x=~(", "--storage", "memory:"], 1, "regular expression"),
        (["find", "--service", "nobody", "--storage", "memory:"], 1, "nobody"),
        (["find", "--service", "s", "--storage", "memory:", "--url", "http://localhost"], 2, "exclude each other"),
        (["find", "--service", "s", "--storage", "s4://x"], 1, "s4://x"),
        (["find", "--service", "s", "--url", "localhost:1"], 1, "localhost:1"),
        (["services", "--url", "http://127.0.0.1:1"], 1, "Connection refused"),
        (["services", "--storage", "memory:"], 1, "nothing has been stored"),
        (["get", "nonsense", "--storage", "memory:"], 1, "nonsense"),
        (["get", STORED["id"], "--storage", "memory:"], 1, "never was"),
        (["merge", "--storage", "memory:"], 2, "--service"),
        (["merge", "--service", "s", "--storage", "memory:"], 1, "type"),
        (["merge", str(CPU[0]), "--service", "s"], 2, "exclude each other"),
        (["merge", str(CPU[0]), str(HEAP)], 1, "cannot be merged"),
        (["merge", str(CPU[0]), "-o", "/nowhere/x"], 1, "/nowhere/x: No such file or directory"),
        (["top", str(CPU[0]), "--sample-type", "brightness"], 1, "samples, cpu"),
        (["top", "/etc"], 1, "/etc: Is a directory"),
        (
            ["push", str(CPU[0]), "--service", "s", "--type", "cpu", "--label", "x", "--storage", "memory:"],
            1,
            "'x'",
        ),
        (["push", "--service", "s", "--type", "cpu"], 2, "FILE"),
        (["serve", "--port", "70000"], 2, "70000"),
        (["serve", "--host", "256.0.0.1", "--storage", "memory:"], 1, "256.0.0.1"),
        (["fly"], 2, "fly"),
    ],
    ids=lambda case: " ".join(case)[:60] if isinstance(case, list) else "",
)
def test_errors_are_sentences(args: Sequence[str], code: int, sentence: str) -> None:
    """On stderr, with 2 where the command line is wrong and 1 else; never a traceback, and nothing on stdout."""
    done = profbucket(*args)
    assert (done.returncode, done.stdout) == (code, b"")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("profbucket: " if code == 1 else "Usage: profbucket")


def test_a_closed_pipe_is_quiet(where: list[str]) -> None:
    """As in ``profbucket find | head -1``: whoever stops reading gets no complaint."""
    profbucket("push", CPU[0], "--service", "pipe", "--type", "cpu", *where).check()
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [PROGRAM, "find", "--service", "pipe", *ALWAYS, *where]
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writing)
    assert done.stderr == b""


def test_ctrl_c_is_quiet_and_immediate() -> None:
    """It does not wait for an answer that does not come."""
    asked, ended = threading.Event(), threading.Event()

    class Silent(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.set()
            ended.wait(TIMEOUT_SECONDS)

    with ThreadingHTTPServer(("127.0.0.1", 0), Silent) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [PROGRAM, *map(str, PUSH), "--url", f"http://127.0.0.1:{server.server_port}"]
        process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
        assert asked.wait(TIMEOUT_SECONDS)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=TIMEOUT_SECONDS)
        ended.set()
        server.shutdown()
    assert (process.returncode, said.strip()) == (130, "")


def on_a_terminal(*args: str | Path) -> tuple[int, str]:
    """The exit code of a command whose output is a terminal, and what is on it."""
    terminal, end = pty.openpty()
    process = subprocess.Popen([PROGRAM, *map(str, args)], env=environment(), stdout=end, stderr=end)
    os.close(end)
    seen = b""
    try:
        while piece := os.read(terminal, 4096):
            seen += piece
    except OSError:  # so the end of a terminal is told
        pass
    os.close(terminal)
    return process.wait(TIMEOUT_SECONDS), seen.decode()


def test_push_shows_its_progress_on_a_terminal() -> None:
    """And nowhere else."""
    push: Command = ("push", *CPU, "--service", "bar", "--type", "cpu", "--storage", "memory:")
    code, seen = on_a_terminal(*push)
    assert code == 0
    assert re.search(r"pushing.*100%", seen, re.DOTALL)
    assert len(re.findall(r"bar/cpu/\S+", seen)) == 3
    assert profbucket(*push).check().stderr == ""


def test_a_profile_is_not_written_to_a_terminal() -> None:
    code, seen = on_a_terminal("merge", *CPU)
    assert code == 2
    assert "-o FILE" in seen


# What it costs


@pytest.mark.parametrize(
    ("command", "unneeded"),
    [
        (["--help"], "numpy google.protobuf isal re2 flask urllib3 http.client importlib.metadata sqlite3"),
        (["merge", "--help"], "numpy google.protobuf isal re2 flask urllib3 http.client importlib.metadata"),
        (["merge", str(CPU[0]), "-o", os.devnull], "re2 flask urllib3 http.client importlib.metadata sqlite3"),
        (["find", "--service", "s", "--url", "http://127.0.0.1:1"], "numpy google.protobuf re2 flask sqlite3"),
    ],
    ids=lambda case: " ".join(case)[:20] if isinstance(case, list) else "",
)
def test_modules_are_loaded_when_they_are_used(command: list[str], unneeded: str) -> None:
    """A short command starts quickly, because it loads nothing that it does not need."""
    program = f"import atexit, sys\nsys.argv = ['profbucket', *{command!r}]\n"
    program += f"atexit.register(lambda: print('loaded', *set({unneeded.split()!r}) & set(sys.modules)))\n"
    program += "from profbucket.cli.commands import main\nmain()"
    done = run(sys.executable, "-c", program, environment=environment())
    assert done.text.splitlines()[-1] == "loaded", shlex.join(command)
