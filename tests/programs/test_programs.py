"""The programs that generate test profiles, and the generated profiles."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from profbucket.pprof import decode
from tests.support.go_tool import Go, GoPprof, Run, run
from tests.support.paths import DATA, PROGRAMS
from tests.support.serving import running

PPROFS = sorted(DATA.glob("*/*.pb*"))
PROFILE_TYPES = ["cpu", "heap", "goroutine", "mutex", "block", "threadcreate", "trace"]


@dataclass
class Stub:
    """A collector that answers with *statuses* in turn, then with 200. Status 0 closes the connection."""

    url: str
    statuses: list[int] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def query(self, number: int) -> dict[str, list[str]]:
        """Return the query of request *number*."""
        return parse_qs(urlsplit(self.targets[number]).query, strict_parsing=True)


@pytest.fixture
def stub() -> Iterator[Stub]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.targets.append(self.path)
            collector.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            status = collector.statuses.pop(0) if collector.statuses else 200
            if status:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(b'{\n "code": 200}' if status == 200 else b"no, because")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the name in the base class
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Stub(f"http://127.0.0.1:{server.server_port}")
        with running(server):
            yield collector


def post(shop: Path, stub: Stub, *flags: str) -> Run:
    return run(str(shop), "-collector", stub.url, "-cpu-seconds", "0.05", *flags)


def test_shop_is_formatted_and_vetted(go: Go) -> None:
    """gofmt and go vet find nothing to change."""
    source = PROGRAMS / "shop"
    root = Path(go.run("env", "GOROOT").check().text.strip())
    assert run(str(root / "bin" / "gofmt"), "-l", str(source)).check().text == ""
    assert go.run("vet", ".", cwd=source).check().stderr == ""


def test_shop_posts_each_profile_type(shop: Path, stub: Stub) -> None:
    """Once per set, to the path that profefe's agent uses; each response is printed as one line."""
    done = post(shop, stub, "-service", "web shop", "-count", "2").check()
    assert done.text == '{"code":200}\n' * 14
    assert [stub.query(number)["type"] for number in range(14)] == [
        [profile_type] for profile_type in PROFILE_TYPES * 2
    ]
    assert {urlsplit(target).path for target in stub.targets} == {"/api/0/profiles"}
    assert {tuple(stub.query(number)["service"]) for number in range(14)} == {("web shop",)}
    assert len(set(stub.bodies)) == 14


def test_shop_escapes_labels_twice(shop: Path, stub: Stub) -> None:
    """Once as keys and values, and once more as part of the query."""
    post(shop, stub, "-version", "0.0.1", "-label", "a,b=c=d e").check()
    assert stub.query(0)["labels"] == ["version=0.0.1,a%2Cb=c%3Dd+e"]


def test_shop_retries_server_errors(shop: Path, stub: Stub) -> None:
    """Also broken connections, and with the same bytes."""
    stub.statuses = [500, 503, 0]
    post(shop, stub).check()
    assert len(stub.bodies) == len(PROFILE_TYPES) + 3
    assert len(set(stub.bodies[:4])) == 1


@pytest.mark.parametrize("status", [400, 429])
def test_shop_does_not_retry_client_errors(shop: Path, stub: Stub, status: int) -> None:
    """Exits after one request, with the text of the response, even for 429."""
    stub.statuses = [status]
    done = post(shop, stub)
    assert (done.returncode, len(stub.bodies)) == (1, 1)
    assert "no, because" in done.stderr


def test_make_profiles_writes_pprofs(tmp_path: Path, go_pprof: GoPprof) -> None:
    """With functions and labels that go tool pprof can read."""
    program = PROGRAMS / "make_profiles.py"
    run(str(Path(go_pprof.go.path).with_name("python")), str(program), str(tmp_path), "--seconds", "0.2").check()
    assert "Basket.price" in go_pprof("-top", tmp_path / "python-cpu.pb.gz").check().text
    assert "busy" in go_pprof("-tags", tmp_path / "python-cpu.pb.gz").check().text
    assert "make_profiles.py" in go_pprof("-top", tmp_path / "python-heap.pb").check().text
    assert "B\n" in go_pprof("-tags", tmp_path / "python-heap.pb").check().text


@pytest.mark.parametrize("file", PPROFS, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_data_is_valid(file: Path) -> None:
    """Each pprof in tests/data decodes and contains no path of the machine that made it."""
    profile = decode(file.read_bytes())
    assert profile.message.sample
    paths = {text.decode() for text in profile.message.string_table if text.startswith(b"/")}
    assert paths <= {"/search", "/product", "/cart", "/checkout", "/tmp/profbucket-test-data/shop"}


def test_data_is_small() -> None:
    """Below 1.5 MB in total, and 200 KB for the trace."""
    sizes = {file: file.stat().st_size for file in DATA.rglob("*") if file.is_file()}
    assert sum(sizes.values()) < 1_500_000
    assert sizes[DATA / "shop-0.0.1" / "trace-1.trace"] < 200_000


def test_data_has_one_function_that_became_slower(go_pprof: GoPprof, tmp_path: Path) -> None:
    """Between the two versions, the CPU time of main.priceCart grows most."""
    # go tool pprof uses only the last -base.
    before, after = tmp_path / "before.pb.gz", tmp_path / "after.pb.gz"
    go_pprof("-proto", "-output", before, *(DATA / "shop-0.0.1").glob("cpu-?.pb.gz")).check()
    go_pprof("-proto", "-output", after, *(DATA / "shop-0.0.2").glob("cpu-?.pb.gz")).check()
    top = go_pprof("-top", "-nodecount=1", "-base", before, after).check().text.splitlines()
    assert top[-1].endswith(" main.priceCart")
    assert not top[-1].lstrip().startswith("-")
