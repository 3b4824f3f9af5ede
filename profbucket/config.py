"""The settings. This is the only place that reads the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from profbucket.errors import Invalid, Misconfigured
from profbucket.limits import Limits
from profbucket.periods import CompactionPolicy

# What keys and logs are made of takes as long to import as a small merge of files does.
if TYPE_CHECKING:
    from profbucket.auth import ApiKeys

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

_MOST = {"service_bytes": 240}  # beyond it a key's part is too long for file systems


@dataclass(frozen=True, slots=True)
class Config:
    """What a collector is told.

    Without ``keys`` it serves the machine it runs on, with ``anonymous`` anyone. ``function_names`` are the names
    under which a platform may put it into its URLs, ``project`` the Google Cloud project it runs in.
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

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Config":
        """Read the settings, or raise ``Misconfigured`` with the one that is wrong."""
        storage_url = environ.get("STORAGE_URL", "")
        if not storage_url:
            raise Misconfigured("STORAGE_URL is not set: where are the profiles? As in file:///var/lib/profbucket")
        keys = _keys(environ.get("PROFBUCKET_KEYS", "").strip())
        anonymous = _flag(environ, "PROFBUCKET_ANONYMOUS")
        if environ.get("K_SERVICE") and not keys and not anonymous:
            raise Misconfigured(
                "PROFBUCKET_KEYS is not set: on Cloud Functions the collector serves those who have a key; where "
                "the platform itself checks who calls (IAM), set PROFBUCKET_ANONYMOUS=1"
            )
        return cls(
            storage_url=storage_url,
            limits=_limits(environ),
            periods=_periods(environ),
            keys=keys,
            anonymous=anonymous,
            # Cloud Functions: the name of the service, and of the function in main.py.
            function_names=frozenset(filter(None, (environ.get("K_SERVICE"), environ.get("FUNCTION_TARGET")))),
            commit=environ.get("PROFBUCKET_COMMIT", ""),
            build_time=environ.get("PROFBUCKET_BUILD_TIME", ""),
            log_level=_level(environ),
            project=environ.get("GOOGLE_CLOUD_PROJECT", ""),
        )


def copy_environment(**settings: str) -> dict[str, str]:
    """The environment of this process, with *settings* instead of those it has."""
    return {**os.environ, **settings}


def limit_numpy_threads() -> None:
    """Let a program of ours that ends soon start quickly; called before numpy is imported.

    We use nothing of its linear algebra, whose threads double what its import costs.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _flag(environ: Mapping[str, str], setting: str) -> bool:
    value = environ.get(setting, "")
    if value not in ("", "0", "1"):
        raise Misconfigured(f"{setting}={value!r}: it is 0 or 1")
    return value == "1"


def _keys(text: str) -> "ApiKeys | None":
    if not text:
        return None
    from profbucket.auth import ApiKeys

    return ApiKeys.parse(text)


def _level(environ: Mapping[str, str]) -> str:
    value = environ.get("PROFBUCKET_LOG_LEVEL") or "info"
    if value == "info":
        return "INFO"
    if value.upper() not in LOG_LEVELS:
        known = ", ".join(LOG_LEVELS).lower()
        raise Misconfigured(f"PROFBUCKET_LOG_LEVEL={value!r}: it is one of {known}")
    return value.upper()


def _periods(environ: Mapping[str, str]) -> CompactionPolicy:
    values = {}
    for field in fields(CompactionPolicy):
        setting = f"PROFBUCKET_BLOCK_{field.name.upper()}"
        if text := environ.get(setting):
            if not text.isascii() or not text.isdigit() or len(text) > 9:
                raise Misconfigured(f"{setting}={text!r}: it is a whole number of seconds")
            values[field.name] = int(text)
    try:
        return CompactionPolicy(**values)
    except Invalid as error:
        raise Misconfigured(f"PROFBUCKET_BLOCK_SHORT, PROFBUCKET_BLOCK_LONG: {error}") from None


def _limits(environ: Mapping[str, str]) -> Limits:
    values = {}
    for field in fields(Limits):
        setting = Limits.setting(field.name)
        if text := environ.get(setting):
            most = _MOST.get(field.name, 2**40)
            if not text.isascii() or not text.isdigit() or not 0 < int(text[:20]) <= most:
                raise Misconfigured(f"{setting}={text!r}: it is a whole number from 1 to {most}")
            values[field.name] = int(text)
    return Limits(**values)
