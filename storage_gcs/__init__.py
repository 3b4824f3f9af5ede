"""Storage in Google Cloud: objects in Cloud Storage, the index in Firestore."""

from urllib.parse import parse_qsl, urlsplit

from profbucket.errors import Misconfigured
from profbucket.model.numbers import parse_count
from profbucket.times import DAY_SECONDS
from storage_gcs.bucket import GcsBucket
from storage_gcs.index import FirestoreIndex

__all__ = ["LIBRARIES", "FirestoreIndex", "GcsBucket", "open_index", "open_url"]

LIBRARIES = ("google.cloud.storage", "google.cloud.firestore")


def open_url(url: str) -> tuple[GcsBucket, FirestoreIndex]:
    """Open the storage at ``gs://bucket?project=…&database=…&retention_days=…&block_days=…``, without I/O.

    All options may be left out. Raise ``Misconfigured`` for an invalid URL.
    """
    parts = urlsplit(url)
    if not parts.netloc or parts.path.strip("/") or parts.fragment or "@" in parts.netloc:
        raise Misconfigured(f"STORAGE_URL={url!r} is not a bucket URL; write gs://bucket?project=…&database=…")
    options = _parse_options(url, "project", "database", "retention_days", "block_days")
    project = options.get("project")
    return GcsBucket(parts.netloc, project), _make_index(url, project, options.get("database"), options)


def open_index(url: str) -> FirestoreIndex:
    """Open the index at ``firestore://project/database?retention_days=…&block_days=…``, for ``index=``.

    Raise ``Misconfigured`` for an invalid URL.
    """
    parts = urlsplit(url)
    database = parts.path.strip("/")
    if "/" in database or parts.fragment:
        raise Misconfigured(f"index={url!r} is not a database URL; write firestore://project/database")
    options = _parse_options(url, "retention_days", "block_days")
    return _make_index(url, parts.netloc or None, database, options)


def _parse_options(url: str, *known: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in parse_qsl(urlsplit(url).query, keep_blank_values=True):
        if name not in known or not value or name in options:
            raise Misconfigured(
                f"{url!r}: option {name!r} is unknown, empty or repeated; options are {', '.join(known)}"
            )
        options[name] = value
    return options


def _make_index(url: str, project: str | None, database: str | None, options: dict[str, str]) -> FirestoreIndex:
    retention_seconds = []
    for name in ("retention_days", "block_days"):
        text = options.get(name, "0")
        days = parse_count(text, most=99_999)
        if days is None:
            raise Misconfigured(f"{url!r}: {name}={text} is not a whole number of days; use that of the lifecycle")
        retention_seconds.append(days * DAY_SECONDS or None)
    return FirestoreIndex(project, database or "(default)", *retention_seconds)
