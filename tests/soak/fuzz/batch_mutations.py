"""Posts of batches: forms whose parts, boundaries and headers are wrong."""

import gzip
from collections.abc import Callable, Sequence
from random import Random
from urllib.parse import urlencode

from profbucket.model.form import BATCH_PATH
from tests.soak.fuzz.profile_mutations import mutated_bytes
from tests.soak.fuzz.request_mutations import ODD_TIMES, ODD_VALUES
from tests.soak.http import request_bytes

_BOUNDARY = b"fuzz"

Parts = list[tuple[bytes, bytes]]  # the headers and the content of each


def make_part(service: str, profile_type: str, labels: str, body: bytes) -> tuple[bytes, bytes]:
    """Return a part that is well-formed."""
    return _head(urlencode({"service": service, "type": profile_type, "labels": labels}).encode()), body


def mutated_batch(random: Random, parts: Parts) -> bytes:
    """Return a post of *parts*; half of them differ from what a client sends."""
    if random.random() < 0.25:
        random.choice(_PART_CHANGES)(random, parts)
    form = _encode(parts)
    if random.random() < 0.25:
        form = random.choice(_FORM_CHANGES)(random, form)
    headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY.decode()}"}
    if random.random() < 0.1:
        headers["Content-Type"] = random.choice(_CONTENT_TYPES)
    if random.random() < 0.1:
        headers["Content-Encoding"] = "gzip"
        form = random.choice((gzip.compress(form), form, gzip.compress(form)[:-9]))
    return request_bytes("POST", BATCH_PATH, form, headers)


def _head(filename: bytes) -> bytes:
    return b'Content-Disposition: form-data; name="profile"; filename="' + filename + b'"'


def _encode(parts: Parts) -> bytes:
    delimiter = b"--" + _BOUNDARY
    return b"".join(delimiter + b"\r\n%s\r\n\r\n%s\r\n" % part for part in parts) + delimiter + b"--\r\n"


def _change_head(random: Random, parts: Parts) -> None:
    index = random.randrange(len(parts))
    head, body = parts[index]
    value, time = random.choice(ODD_VALUES), random.choice(ODD_TIMES)
    heads = (
        *(
            b"",
            b"X: y",
            b"Content-Disposition: form-data",
            b"Content-Disposition: ;;;",
            _head(b""),
            _head(b"&" * 200),
        ),
        *(_head(b"service=%s&type=cpu" % value.encode()), head[:-1] + b"&created_at=%s" % time.encode() + b'"'),
        head[:-1] + b"&l=%s" % value.encode() + b'"',
        head + b"\r\nContent-Encoding: br\r\nContent-Transfer-Encoding: base64",
        head + b"\r\n" + b"a:\r\n" * random.choice((10, 10_000, 30_000)),
        head + b"\r\nX: " + b"x" * random.choice((1000, 100_000, 3_000_000)),
        head.replace(b"=", b"*=", 2),
        mutated_bytes(random, head),
    )
    parts[index] = random.choice(heads), body


def _nest(random: Random, parts: Parts) -> None:
    index = random.randrange(len(parts))
    parts[index] = parts[index][0], _encode(parts[:2])


def _repeat(random: Random, parts: Parts) -> None:
    parts += [random.choice(parts)] * random.choice((1, 30, 1100))


def _add_tiny(random: Random, parts: Parts) -> None:
    parts += [(random.choice((b"", _head(b""), parts[0][0])), b"")] * random.choice((1, 100, 20_000))


def _cut(random: Random, form: bytes) -> bytes:
    return form[: random.choice((0, 3, len(form) // 2, len(form) - 1, len(form) - 4, len(form) - 9))]


def _precede(random: Random, form: bytes) -> bytes:
    flood = random.choice((b"x", b"\r\n", b"--", b"\r\n--", b"\r\n--" + _BOUNDARY + b"x"))
    return flood * random.choice((1, 1000, 200_000)) + b"\r\n" + form


def _follow(random: Random, form: bytes) -> bytes:
    return form + random.choice((b"x", b"\r\n", form)) * random.choice((1, 1000))


def _change_delimiters(random: Random, form: bytes) -> bytes:
    old, new = random.choice(
        ((b"\r\n", b"\n"), (b"\r\n", b"\r"), (_BOUNDARY, b"other"), (b"--" + _BOUNDARY, b"--"))
    )
    return form.replace(old, new, random.choice((1, 2, 5)))


_PART_CHANGES: Sequence[Callable[[Random, Parts], None]] = (_change_head, _change_head, _nest, _repeat, _add_tiny)
_FORM_CHANGES: Sequence[Callable[[Random, bytes], bytes]] = (
    *(_cut, _precede, _follow, _change_delimiters),
    mutated_bytes,
)
_CONTENT_TYPES = (
    "text/plain",
    "multipart/mixed; boundary=fuzz",
    "multipart/form-data",
    *(
        f"multipart/form-data; {boundary}"
        for boundary in (
            "boundary=",
            'boundary="fuzz"',
            "boundary=fuzzz",
            "boundary=f",
            "boundary*=utf-8''%E2%82%AC",
            f'boundary="{"x" * 3000}"',
        )
    ),
)
