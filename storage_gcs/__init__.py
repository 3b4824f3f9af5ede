"""Cloud Storage holds the profiles, Firestore finds them."""

from urllib.parse import parse_qsl, urlsplit

from profbucket.errors import Misconfigured
from storage_gcs.bucket import GcsBucket
from storage_gcs.index import FirestoreIndex

__all__ = ["LIBRARIES", "FirestoreIndex", "GcsBucket", "open_index", "open_url"]

LIBRARIES = ("google.cloud.storage", "google.cloud.firestore")


def open_url(url: str) -> tuple[GcsBucket, FirestoreIndex]:
    """The storage of ``gs://bucket?project=…&database=…&retention_days=…&block_days=…``, options being optional.

    Nothing is reached before the first call. Raise ``Misconfigured`` for another kind of URL.
    """
    parts = urlsplit(url)
    if not parts.netloc or parts.path.strip("/") or parts.fragment or "@" in parts.netloc:
        raise Misconfigured(f"STORAGE_URL={url!r}: write a bucket as gs://bucket?project=…&database=…")
    options = _options(url, "project", "database", "retention_days", "block_days")
    project = options.get("project")
    return GcsBucket(parts.netloc, project), _index(url, project, options.get("database"), options)


def open_index(url: str) -> FirestoreIndex:
    """The index of ``firestore://project/database?retention_days=…&block_days=…``, as in a bucket's ``index=``."""
    parts = urlsplit(url)
    database = parts.path.strip("/")
    if "/" in database or parts.fragment:
        raise Misconfigured(f"index={url!r}: write a database as firestore://project/database")
    return _index(url, parts.netloc or None, database, _options(url, "retention_days", "block_days"))


def _options(url: str, *known: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in parse_qsl(urlsplit(url).query, keep_blank_values=True):
        if name not in known or not value or name in options:
            raise Misconfigured(f"{url!r}: option {name!r} is none of {', '.join(known)}, empty, or given twice")
        options[name] = value
    return options


def _index(url: str, project: str | None, database: str | None, options: dict[str, str]) -> FirestoreIndex:
    seconds = []
    for name in ("retention_days", "block_days"):
        days = options.get(name, "0")
        if not (days.isascii() and days.isdigit() and len(days) < 6):
            raise Misconfigured(f"{url!r}: {name} is a whole number, as the bucket's lifecycle has it")
        seconds.append(int(days) * 86400 or None)
    return FirestoreIndex(project, database or "(default)", *seconds)
