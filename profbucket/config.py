"""The collector's settings, from environment variables. No other module of the collector reads them."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from profbucket.errors import Invalid, Misconfigured
from profbucket.limits import Limits
from profbucket.model.numbers import parse_count
from profbucket.model.sample_kinds import parse_kind_rules
from profbucket.periods import CompactionPolicy

# Importing profbucket.auth takes as long as a small merge of files.
if TYPE_CHECKING:
    from profbucket.auth import ApiKeys
    from profbucket.storage.store import Storage

_QUEUE = re.compile(r"projects/[^/\s]+/locations/[^/\s]+/queues/[A-Za-z0-9-]{1,100}")

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

_ORIGIN = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")

_DROPPED_LABELS = "PROFBUCKET_DROPPED_LABELS"
_MAX_DROPPED_LABELS = 100

_PERIOD_PREFIX = "PROFBUCKET_BLOCK_"
_PERIODS = {field.name: f"{_PERIOD_PREFIX}{field.name.upper()}" for field in fields(CompactionPolicy)}

_LARGEST_LIMITS = {"service_bytes": 240}  # file systems allow 255 bytes for a part of an object's key

# Cloud Run, and so Cloud Functions, transmit 32 MB of a response with a Content-Length, which all responses of the
# collector have, and 10 MB of one that is streamed.
_CLOUD_RUN_RESPONSE_BYTES = 32_000_000


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of a collector.

    Without ``keys`` it serves only local clients or, with ``anonymous``, anyone. ``function_names`` may be the
    first part of a request's path on Cloud Functions. ``project`` is the Google Cloud project it runs in.
    ``cloud_profiler_seconds`` is the time from one profile of an agent of Cloud Profiler to its next.
    ``threads`` is the number of requests that are served concurrently. ``max_response_bytes`` is the largest
    response that the platform transmits, if it has a limit. Web pages of ``cors_origins`` may read.
    With a ``compact_queue`` of Cloud Tasks, compaction puts its tasks there; the queue posts each to
    ``compact_url``, or the URL of the request, as the account ``compact_invoker``. With ``export_samples`` it also
    makes tables of samples.
    """

    storage_url: str
    limits: Limits = Limits()
    periods: CompactionPolicy = CompactionPolicy()
    keys: "ApiKeys | None" = None
    anonymous: bool = False
    function_names: frozenset[str] = frozenset()
    commit: str = ""
    build_time: str = ""
    log_level: str = "INFO"
    project: str = ""
    threads: int = 16  # a merge spends most of its time waiting for the storage
    max_response_bytes: int | None = None
    compact_queue: str = ""
    compact_url: str = ""
    compact_invoker: str = ""
    cloud_profiler_seconds: int = 60
    cors_origins: frozenset[str] = frozenset()
    export_samples: bool = False

    def open_storage(self, *, create: bool = True, create_index: bool = False) -> "Storage":
        """Open the storage with these settings; see :func:`profbucket.storage.open.open_storage`."""
        from profbucket.storage.open import open_storage

        return open_storage(self.storage_url, self.limits, self.periods, create=create, create_index=create_index)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Config":
        """Read the settings; raise ``Misconfigured`` with the name of an invalid one."""
        storage_url = environ.get("STORAGE_URL", "")
        if not storage_url:
            raise Misconfigured(
                "STORAGE_URL is not set; set it to the URL of the storage, as in file:///var/lib/profbucket"
            )
        _check_names(environ)
        keys = _parse_keys(environ.get("PROFBUCKET_KEYS", "").strip())
        anonymous = _parse_flag(environ, "PROFBUCKET_ANONYMOUS")
        if environ.get("K_SERVICE") and not keys and not anonymous:
            raise Misconfigured(
                "PROFBUCKET_KEYS is not set; it is required on Cloud Functions, unless the platform authenticates "
                "the callers (IAM) and PROFBUCKET_ANONYMOUS=1 is set"
            )
        return cls(
            storage_url=storage_url,
            limits=_parse_limits(environ),
            periods=_parse_periods(environ),
            keys=keys,
            anonymous=anonymous,
            # On Cloud Functions: the name of the service, and of the function in main.py.
            function_names=frozenset(filter(None, (environ.get("K_SERVICE"), environ.get("FUNCTION_TARGET")))),
            commit=environ.get("PROFBUCKET_COMMIT", ""),
            build_time=environ.get("PROFBUCKET_BUILD_TIME", ""),
            log_level=_parse_log_level(environ),
            project=environ.get("GOOGLE_CLOUD_PROJECT", ""),
            threads=_parse_count("THREADS", environ.get("THREADS") or "16", 1, 1000),
            max_response_bytes=_CLOUD_RUN_RESPONSE_BYTES if environ.get("K_SERVICE") else None,
            compact_queue=_parse_queue(environ),
            compact_url=environ.get("PROFBUCKET_COMPACT_URL", ""),
            compact_invoker=environ.get("PROFBUCKET_COMPACT_INVOKER", ""),
            cloud_profiler_seconds=_parse_count(
                "PROFBUCKET_CLOUD_PROFILER_SECONDS",
                environ.get("PROFBUCKET_CLOUD_PROFILER_SECONDS") or "60",
                5,
                86_400,
            ),
            cors_origins=_parse_origins(environ.get("PROFBUCKET_CORS_ORIGINS", "")),
            export_samples=_parse_flag(environ, "PROFBUCKET_SAMPLES"),
        )


def copy_environment(**settings: str) -> dict[str, str]:
    """Return a copy of this process's environment, updated with *settings*."""
    return {**os.environ, **settings}


def limit_numpy_threads() -> None:
    """Make numpy start no threads; call it before numpy is imported.

    Its linear algebra is not used, and starting threads for it doubles the time of the import.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _parse_flag(environ: Mapping[str, str], setting: str) -> bool:
    value = environ.get(setting, "")
    if value not in ("", "0", "1"):
        raise Misconfigured(f"{setting}={value!r}: it must be 0 or 1")
    return value == "1"


def _parse_queue(environ: Mapping[str, str]) -> str:
    name = environ.get("PROFBUCKET_COMPACT_QUEUE", "")
    if name and not _QUEUE.fullmatch(name):
        raise Misconfigured(
            f"PROFBUCKET_COMPACT_QUEUE={name[:200]!r}: it must have the form projects/P/locations/L/queues/Q"
        )
    if name and not environ.get("PROFBUCKET_COMPACT_INVOKER"):
        raise Misconfigured(
            "PROFBUCKET_COMPACT_INVOKER is not set; set it to the service account with which"
            " PROFBUCKET_COMPACT_QUEUE calls the collector"
        )
    return name


def _parse_origins(text: str) -> frozenset[str]:
    """Return the origins in *text*, which commas separate."""
    origins = frozenset(filter(None, (origin.strip().lower().rstrip("/") for origin in text.split(","))))
    for origin in sorted(origins):
        if not _ORIGIN.fullmatch(origin):
            raise Misconfigured(
                f"PROFBUCKET_CORS_ORIGINS: {origin[:80]!r} is not an origin; write each as https://HOST or http://HOST:PORT"
            )
    return origins


def _parse_keys(text: str) -> "ApiKeys | None":
    if not text:
        return None
    from profbucket.auth import ApiKeys

    return ApiKeys.parse(text)


def _parse_log_level(environ: Mapping[str, str]) -> str:
    value = environ.get("PROFBUCKET_LOG_LEVEL") or "info"
    if value == "info":
        return "INFO"
    if value.upper() not in LOG_LEVELS:
        levels = ", ".join(LOG_LEVELS).lower()
        raise Misconfigured(f"PROFBUCKET_LOG_LEVEL={value!r}: it must be one of {levels}")
    return value.upper()


def _check_names(environ: Mapping[str, str]) -> None:
    """Raise ``Misconfigured`` for a misspelt limit or period, which would otherwise have no effect."""
    known = {*map(Limits.setting, Limits.names()), *_PERIODS.values()}
    for name in sorted(environ):
        if name.startswith((Limits.setting(""), _PERIOD_PREFIX)) and name not in known:
            from difflib import get_close_matches

            matches = get_close_matches(name, sorted(known), 1)
            advice = f"did you mean {matches[0]}?" if matches else "docs/configuration.md lists those there are"
            raise Misconfigured(f"there is no setting {name[:80]}; {advice}")


def _parse_periods(environ: Mapping[str, str]) -> CompactionPolicy:
    values = {}
    for name, setting in _PERIODS.items():
        if text := environ.get(setting):
            values[name] = _parse_count(setting, text, 0, 999_999_999)
    try:
        return CompactionPolicy(**values)
    except Invalid as error:
        names = ", ".join(_PERIODS[name] for name in ("short", "long", "longest"))
        raise Misconfigured(f"{names}: {error}", code=error.code) from None


def _parse_limits(environ: Mapping[str, str]) -> Limits:
    values: dict[str, Any] = {}
    for name in Limits.names():
        setting = Limits.setting(name)
        if text := environ.get(setting):
            values[name] = _parse_count(setting, text, 1, _LARGEST_LIMITS.get(name, 2**40))
    dropped_labels = environ.get(_DROPPED_LABELS)
    if dropped_labels is not None:
        values["dropped_labels"] = _parse_label_keys(dropped_labels)
    try:
        values["sample_kinds"] = parse_kind_rules(environ.get("PROFBUCKET_SAMPLE_KINDS", ""))
    except Invalid as error:
        raise Misconfigured(f"PROFBUCKET_SAMPLE_KINDS: {error}") from None
    return Limits(**values)


def _parse_label_keys(text: str) -> tuple[str, ...]:
    """Return the keys in *text*, which commas separate; an empty text has none."""
    keys = tuple(dict.fromkeys(key.strip() for key in text.split(",") if key.strip()))
    if len(keys) > _MAX_DROPPED_LABELS:
        raise Misconfigured(f"{_DROPPED_LABELS} has {len(keys)} keys; at most {_MAX_DROPPED_LABELS} are possible")
    return keys


def _parse_count(setting: str, text: str, least: int, most: int) -> int:
    count = parse_count(text, least, most)
    if count is None:
        raise Misconfigured(f"{setting}={text[:80]!r}: it must be a whole number from {least} to {most}")
    return count
