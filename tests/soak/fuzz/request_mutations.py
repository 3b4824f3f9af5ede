"""Posts with wrong parameters, headers and framing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from urllib.parse import quote

_PATH = "/api/0/profiles"


@dataclass(slots=True)
class Post:
    """A post under construction. *is_well_formed* is whether HTTP itself demands an answer to it."""

    parameters: list[tuple[str, str]]  # percent-encoded
    body: bytes
    headers: list[tuple[str, str]] = field(
        default_factory=lambda: [("Host", "127.0.0.1"), ("Connection", "close")]
    )
    method: str = "POST"
    path: str = _PATH
    version: str = "HTTP/1.1"
    framed: bytes | None = None  # the body as it is sent, if the headers say how it is framed
    truncated: bool = False
    is_well_formed: bool = True

    @property
    def is_stored_unchanged(self) -> bool:
        """True if a collector that accepts the post has read exactly ``body``, and stores it."""
        return self.framed is None and not any(name == "Content-Encoding" for name, _ in self.headers)

    def data(self) -> bytes:
        target = self.path + "?" + "&".join(f"{name}={value}" for name, value in self.parameters)
        headers = list(self.headers)
        if self.framed is None:
            headers.append(("Content-Length", str(len(self.body))))
        head = [f"{self.method} {target} {self.version}", *(f"{name}: {value}" for name, value in headers), "", ""]
        return "\r\n".join(head).encode("utf-8", "surrogateescape") + (
            self.body if self.framed is None else self.framed
        )


def mutated_post(random: Random, service: str, profile_type: str, labels: str, body: bytes) -> Post:
    """Return a post of *body*; a third of them differ from what a client sends."""
    post = Post([("service", quote(service)), ("type", profile_type), ("labels", quote(labels))], body)
    for change in (_change_parameters, _change_headers, _change_framing):
        if random.random() < 0.12:
            change(random, post)
    return post


ODD_VALUES: Sequence[str] = (
    *(
        "",
        "%00",
        "%0d%0aX:%201",
        "%ff%fe",
        "%",
        "%zz",
        "a%2Fb",
        "..",
        "%2e%2e%2f",
        "_",
        "~7E",
        "%E2%80%AE",
        "%1b[2J",
    ),
    *(
        "a" * 199,
        "a" * 201,
        "a" * 3000,
        "%C3%A4",
        "%F0%9F%94%A5" * 30,
        "null",
        "-1",
        "0",
        "1e9",
        "a=b,c=d",
        "%3D%2C",
    ),
    *("unknown", "cpu", "trace", "CPU", "other", "%ED%A0%80", "%00" * 50, "[", "(a%2B)%2B$"),
)
ODD_TIMES: Sequence[str] = (
    *("0", "1", "-1", "now", "now-1h", "2024-06-01T00:00:00", "2024-13-45", "9999-12-31T23:59:59Z", "1e400"),
    *("0001-01-01T00:00:00Z", "99999999999999999999", "now-99999999999d", "1717200000.5", "%C2%B2", "nan"),
    *("-9223372036854775808", "2024-06-01T00:00:00%2B99:99", "2024-06-01T00:00:60Z", "1969-12-31T23:59:59Z"),
)


def _change_parameters(random: Random, post: Post) -> None:
    match random.randrange(7):
        case 0:
            del post.parameters[random.randrange(len(post.parameters))]
        case 1:
            index = random.randrange(len(post.parameters))
            post.parameters[index] = (post.parameters[index][0], random.choice(ODD_VALUES))
        case 2:
            post.parameters.append(("created_at", random.choice(ODD_TIMES)))
        case 3:
            reserved = (
                "page",
                "limit",
                "from",
                "to",
                "seconds",
                "delta",
                "step",
                "group_by",
                "base_from",
                "focus",
            )
            post.parameters.append((random.choice(reserved), random.choice(("1", "x", "now"))))
        case 4:
            post.parameters.append((random.choice(ODD_VALUES[:20]), random.choice(ODD_VALUES)))
        case 5:
            post.parameters.append(random.choice(post.parameters))
        case _:
            post.parameters += [(f"l{number}", "v" * random.choice((1, 30))) for number in range(70)]


def _change_headers(random: Random, post: Post) -> None:
    choices: Sequence[Sequence[tuple[str, str]]] = (
        [
            (
                "Content-Type",
                random.choice(("application/json", "multipart/form-data; boundary=x", "", "\xff", "text/")),
            )
        ],
        [("Content-Type", "application/x-www-form-urlencoded")],
        [
            (
                "Content-Encoding",
                random.choice(("gzip", "deflate", "zstd", "br", "gzip, gzip", "x", "identity", "")),
            )
        ],
        [
            (
                "Authorization",
                random.choice(("Basic", "Basic !!!", "Basic " + "QQ" * 40, "Bearer ", "x\xff", "Digest a=")),
            )
        ],
        [("X-Api-Key", random.choice(("", "x" * 5000, "\xe4")))],
        [("Origin", "https://elsewhere.example"), ("Sec-Fetch-Site", "cross-site")],
        [("X-Forwarded-For", "203.0.113.9, x"), ("Forwarded", "for=;;")],
        [("Via", "1.1 proxy"), ("X-Real-IP", "203.0.113.9")],
        [("Accept-Encoding", "gzip;q=x"), ("Range", "bytes=9-1"), ("If-None-Match", '"')],
        [("X-Cloud-Trace-Context", random.choice(("x/y;o=1", "/" * 100, "\xff/1")))],
        [("traceparent", random.choice(("00-" + "0" * 32, "zz", "")))],
        [("Expect", random.choice(("100-continue", "200-ok")))],
        [(f"X-{number}", "v") for number in range(random.choice((50, 150)))],
        [("X-Large", "v" * random.choice((1000, 9000, 70_000)))],
        [("User-Agent", "\x1b[31m\t" + "a" * 500)],
        [("Host", random.choice(("", "x" * 300, "[::1", "a b", "127.0.0.1:99999", "elsewhere.example")))],
    )
    post.headers += random.choice(choices)
    _reject_odd_heads(post)


def _reject_odd_heads(post: Post) -> None:
    """Note that the server may refuse a head without an answer of its own."""
    size = sum(len(name) + len(value) for name, value in post.headers)
    odd = any(ord(char) < 32 or ord(char) > 126 for _, value in post.headers for char in value)
    if size > 4000 or len(post.headers) > 40 or odd:
        post.is_well_formed = False


def _change_framing(random: Random, post: Post) -> None:
    random.choice(_FRAMINGS)(random, post)


def _chunked(random: Random, post: Post) -> None:
    """Frame the body in valid chunks, some with extensions and trailers."""
    post.headers.append(("Transfer-Encoding", "chunked"))
    extension = random.choice((b"", b"", b";a=b", b' ;a="b c"'))
    trailer = random.choice((b"", b"", b"X-Trailer: 1\r\n"))
    out, position = [], 0
    while position < len(post.body):
        size = random.choice((1, 7, 1024, 1 << 17)) if len(post.body) < 50_000 else 1 << 16
        piece = post.body[position : position + size]
        out.append(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece))
        position += len(piece)
    post.framed = b"".join(out) + b"0\r\n" + trailer + b"\r\n"
    post.is_well_formed = not extension and not trailer


def _broken_chunks(random: Random, post: Post) -> None:
    _chunked(random, post)
    post.is_well_formed = False
    framed = post.framed or b""
    sizes = (
        *(
            b"zz",
            b"-5",
            b"0x10",
            b" 5",
            b"5 ",
            b"+5",
            b"1_0",
            b"",
            b"ffffffffffffffffff",
            b"\0",
            b"0" * 5000,
            b"\xff",
        ),
        *(b"5;" + b"x" * 9000, b"7fffffffffffffff", b"5\n", b"5\r", b"\r\n5", b"80000000"),
    )
    match random.randrange(5):
        case 0:
            post.framed = random.choice(sizes) + b"\r\n" + framed
        case 1:
            at = framed.find(b"\r\n", 2 + len(framed) // 2)
            post.framed = framed[: max(at, 0)] + b"\r\n" + random.choice(sizes) + b"\r\n" + framed[max(at, 0) :]
        case 2:
            post.framed = framed[: random.choice((len(framed) // 2, -1, -5, 1, 0))]
        case 3:
            post.framed = framed.replace(b"\r\n", random.choice((b"\n", b"\r", b"")), 3)
        case _:
            post.framed = framed + b"GET /healthz HTTP/1.1\r\n\r\n" * 2
    post.truncated = True


def _wrong_length(random: Random, post: Post) -> None:
    length = len(post.body)
    lengths = (length + 1, length + 100_000, length - 1, 0, -1, 2**63, 2**70, "x", "", "5 5", "+5", "0x5", "5,5")
    post.headers.append(("Content-Length", str(random.choice(lengths))))
    post.framed = post.body
    post.truncated = True
    post.is_well_formed = False


def _several_framings(random: Random, post: Post) -> None:
    values = (
        "chunked",
        "gzip, chunked",
        "identity",
        "chunked, chunked",
        "xchunked",
        " chunked",
        "Chunked",
        "\x0bchunked",
    )
    post.headers.append(("Transfer-Encoding", random.choice(values)))
    post.headers.append(("Content-Length", str(len(post.body))))
    if random.random() < 0.5:
        post.headers.append(("Content-Length", str(len(post.body) + random.choice((0, 1)))))
    post.framed = post.body
    post.truncated = True
    post.is_well_formed = False


def _odd_request_line(random: Random, post: Post) -> None:
    match random.randrange(4):
        case 0:
            post.method = random.choice(
                ("PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "post", "FOO", "TRACE", "P ST")
            )
        case 1:
            paths = (
                "//api/0/profiles",
                "/api/0/profiles/",
                "/api/0/profiles/%00",
                "/api/0/profiles/../..",
                "*",
                "/",
            )
            post.path = random.choice(
                (*paths, "http://other.example/api/0/profiles", "/" + "a" * 9000, "/%ff", "/\xff")
            )
        case 2:
            post.version = random.choice(("HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.1 x", "HTTP/9", ""))
        case _:
            post.headers.append(
                random.choice((("X Y", "1"), ("X\t", "1"), ("", "1"), ("X\0", "1"), ("a:b\r\n c", "1")))
            )
    post.is_well_formed = False
    post.truncated = True


_FRAMINGS: Sequence[Callable[[Random, Post], None]] = (
    *(_chunked, _chunked, _broken_chunks, _broken_chunks, _wrong_length, _several_framings, _odd_request_line),
)
