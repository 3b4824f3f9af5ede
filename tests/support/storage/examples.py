"""Example metas, blocks and profiles, and texts that backends may handle incorrectly."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random

from profbucket.errors import NotFound
from profbucket.model.blocks import Block
from profbucket.model.ids import ProfileId, block_key, profile_digest
from profbucket.model.labels import Labels
from profbucket.model.meta import Meta, Total
from profbucket.model.profile_type import ProfileType
from profbucket.storage.store import Storage
from profbucket.times import LATEST

NOW = 1_795_387_867_123_456_789  # 2026-11-22T22:51:07.123456789Z
ALL_TIME = (0, LATEST)

# Escapes of URLs, paths, SQL, JSON and headers; scripts, combining characters, characters beyond 16 bits.
TRICKY_TEXTS = (
    "a b",
    "a+b%20c%",
    "/",
    "..",
    "a/b\\c",
    "'; DROP TABLE entries; --",
    '"quoted"',
    "{}[],:=;",
    "*?[a-z]",
    "größe",
    "e\u0301",  # looks like the next
    "\u00e9",
    "日本語",
    "שלום",
    "🔥👩‍👩‍👧",
    "\U0010ffff",
    "null",
    "0",
    "__name__",
    "~7E",
)


def make_meta(
    created_at: int = NOW,
    *,
    service: str = "api",
    type: ProfileType = ProfileType.CPU,  # noqa: A002 - as in Meta
    labels: str | Labels = "",
    data: bytes = b"",
    totals: Sequence[Total] = (),
) -> Meta:
    """Return the meta of a profile with the bytes *data*; *labels* may be a text ``key=value,…``."""
    if isinstance(labels, str):
        labels = Labels.parse(labels)
    profile_id = ProfileId(service, type, created_at, profile_digest(service, type, labels, created_at, data))
    return Meta(str(profile_id), service, type, labels, created_at, len(data), tuple(totals))


def read_each(storage: Storage, ids: Iterable[str]) -> list[bytes | None]:
    """Return the bytes of each profile as posted; ``None`` for one that does not exist."""

    def read(profile_id: str) -> bytes | None:
        try:
            return storage.read(ProfileId.parse(profile_id))
        except NotFound:
            return None

    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(read, ids))


def make_block(members: Sequence[Meta], *, period: int = 3600, name: str = "") -> Block:
    """Return a block of *members*, ordered by position. Blocks with other *name* have other ids."""
    first, last = members[0], members[-1]
    return Block(
        id=block_key(first.service, first.type, first.created_at, name + "".join(meta.id for meta in members)),
        service=first.service,
        type=first.type,
        period=period,
        first=first.created_at,
        last=last.created_at,
        count=len(members),
        size=sum(meta.size for meta in members),
        ends=(100, 2**40, 2**40 + 1, 2**40 + 10),
        measures="0123abcd",
        written_at=NOW,
    )


def make_numbered_profile(number: int) -> tuple[Meta, bytes]:
    """Return a reproducible profile: 2 to 20 KB, of one of 2 services, with its own labels.

    Those with odd numbers begin as gzip does, so that a directory keeps their metadata in their files.
    """
    data = b"\x1f\x8b" * (number % 2) + Random(number).randbytes(2_000 + number % 7 * 3_000)
    labels = f"version=0.0.{number % 5},pod=pod-{number % 4},number={number}"
    totals = [Total("cpu", "nanoseconds", number)]
    return make_meta(NOW + number, service=f"service-{number % 2}", labels=labels, data=data, totals=totals), data


def make_numbered_batch(first: int) -> list[tuple[Meta, bytes]]:
    """Return the four numbered profiles from *first* on that have the same service."""
    return [make_numbered_profile(number) for number in range(first, first + 8, 2)]
