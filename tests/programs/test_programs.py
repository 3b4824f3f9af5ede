"""The programs that make our profiles, and the profiles that they made."""

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
KINDS = ["cpu", "heap", "goroutine", "mutex", "block", "threadcreate", "trace"]


@dataclass
class Stub:
    """A collector that answers with *statuses*, one after another, then with 200; status 0 hangs up."""

    url: str
    statuses: list[int] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def sent(self, number: int) -> dict[str, list[str]]:
        """The query of the request *number*."""
        return parse_qs(urlsplit(self.targets[number]).query, strict_parsing=True)


@pytest.fixture
def stub() -> Iterator[Stub]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.targets.append(self.path)
            seen.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            status = seen.statuses.pop(0) if seen.statuses else 200
            if status:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(b'{\n "code": 200}' if status == 200 else b"no, because")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the name it has there
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        seen = Stub(f"http://127.0.0.1:{server.server_port}")
        with running(server):
            yield seen


def post(shop: Path, stub: Stub, *flags: str) -> Run:
    return run(str(shop), "-collector", stub.url, "-cpu-seconds", "0.05", *flags)


def test_shop_is_formatted_and_vetted(go: Go) -> None:
    """gofmt has nothing to change in the Go program, and go vet nothing to say."""
    source = PROGRAMS / "shop"
    root = Path(go.run("env", "GOROOT").check().text.strip())
    assert run(str(root / "bin" / "gofmt"), "-l", str(source)).check().text == ""
    assert go.run("vet", ".", cwd=source).check().stderr == ""


def test_shop_posts_each_kind(shop: Path, stub: Stub) -> None:
    """Each kind of profile is posted once a set, where profefe's agent posts it, and each answer is one line."""
    done = post(shop, stub, "-service", "web shop", "-count", "2").check()
    assert done.text == '{"code":200}\n' * 14
    assert [stub.sent(number)["type"] for number in range(14)] == [[kind] for kind in KINDS * 2]
    assert {urlsplit(target).path for target in stub.targets} == {"/api/0/profiles"}
    assert {tuple(stub.sent(number)["service"]) for number in range(14)} == {("web shop",)}
    assert len(set(stub.bodies)) == 14


def test_shop_escapes_labels_twice(shop: Path, stub: Stub) -> None:
    """Keys and values of labels are escaped once for themselves and once more as a part of the query."""
    post(shop, stub, "-version", "0.0.1", "-label", "a,b=c=d e").check()
    assert stub.sent(0)["labels"] == ["version=0.0.1,a%2Cb=c%3Dd+e"]


def test_shop_retries_what_may_pass(shop: Path, stub: Stub) -> None:
    """After a 500, a 503 and a broken connection the same bytes are sent again."""
    stub.statuses = [500, 503, 0]
    post(shop, stub).check()
    assert len(stub.bodies) == len(KINDS) + 3
    assert len(set(stub.bodies[:4])) == 1


@pytest.mark.parametrize("status", [400, 429])
def test_shop_takes_a_client_error_as_final(shop: Path, stub: Stub, status: int) -> None:
    """Any answer from 400 to 499, 429 too, ends it after one request, with the answer's text."""
    stub.statuses = [status]
    done = post(shop, stub)
    assert (done.returncode, len(stub.bodies)) == (1, 1)
    assert "no, because" in done.stderr


def test_make_profiles_writes_pprofs(tmp_path: Path, go_pprof: GoPprof) -> None:
    """pprof reads what the Python program writes: its functions, and its labels with their units."""
    program = PROGRAMS / "make_profiles.py"
    run(str(Path(go_pprof.go.path).with_name("python")), str(program), str(tmp_path), "--seconds", "0.2").check()
    assert "Basket.price" in go_pprof("-top", tmp_path / "python-cpu.pb.gz").check().text
    assert "busy" in go_pprof("-tags", tmp_path / "python-cpu.pb.gz").check().text
    assert "make_profiles.py" in go_pprof("-top", tmp_path / "python-heap.pb").check().text
    assert "B\n" in go_pprof("-tags", tmp_path / "python-heap.pb").check().text


@pytest.mark.parametrize("file", PPROFS, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_data_is_valid(file: Path) -> None:
    """Each pprof in tests/data decodes, and holds no path of the machine that made it."""
    profile = decode(file.read_bytes())
    assert profile.message.sample
    paths = {text.decode() for text in profile.message.string_table if text.startswith(b"/")}
    assert paths <= {"/search", "/product", "/cart", "/checkout", "/tmp/profbucket-test-data/shop"}


def test_data_is_small() -> None:
    """All test data is below 1.5 MB, and the trace below 200 KB."""
    sizes = {file: file.stat().st_size for file in DATA.rglob("*") if file.is_file()}
    assert sum(sizes.values()) < 1_500_000
    assert sizes[DATA / "shop-0.0.1" / "trace-1.trace"] < 200_000


def test_data_has_one_function_that_got_slower(go_pprof: GoPprof, tmp_path: Path) -> None:
    """Between the two versions in tests/data main.priceCart changed most in CPU time, and upwards."""
    # go tool pprof takes one -base only: the last.
    before, after = tmp_path / "before.pb.gz", tmp_path / "after.pb.gz"
    go_pprof("-proto", "-output", before, *(DATA / "shop-0.0.1").glob("cpu-?.pb.gz")).check()
    go_pprof("-proto", "-output", after, *(DATA / "shop-0.0.2").glob("cpu-?.pb.gz")).check()
    top = go_pprof("-top", "-nodecount=1", "-base", before, after).check().text.splitlines()
    assert top[-1].endswith(" main.priceCart")
    assert not top[-1].lstrip().startswith("-")
