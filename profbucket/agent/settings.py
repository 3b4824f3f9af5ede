"""What the agent is told: by the program that starts it, or by `profbucket run`, through the environment."""

import base64
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlencode, urlsplit, urlunsplit

from profbucket.errors import Misconfigured
from profbucket.limits import Limits
from profbucket.model.ids import check_service
from profbucket.model.labels import Labels

SETTINGS_VARIABLE = "PROFBUCKET_AGENT"  # what `profbucket run` hands on
KEY_VARIABLE = "PROFBUCKET_KEY"

_LONGEST = 86_400.0  # seconds between two profiles


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to, for whom, and how often: times are seconds.

    ``url`` has no user and no key in it. ``headers`` have the key, and are not shown.
    """

    url: str
    service: str
    labels: Labels
    headers: Mapping[str, str] = field(repr=False)
    every: float = 60.0
    seconds: float = 10.0
    cpu: bool = True
    heap: bool = True
    wall: bool = True

    @classmethod
    def create(
        cls,
        url: str,
        service: str,
        labels: Mapping[str, str] | None = None,
        key: str = "",
        *,
        every: float = 60.0,
        seconds: float = 10.0,
        cpu: bool = True,
        heap: bool = True,
        wall: bool = True,
    ) -> "Settings":
        """Check all of it; raise ``Misconfigured`` or ``Invalid``. Without *key* it is that of the environment."""
        if sys.version_info < (3, 11, 5):  # before, looking at threads may lock them up
            raise Misconfigured(f"the agent needs Python 3.11.5 or newer, this is {sys.version.split()[0]}")
        if cpu and not hasattr(time, "pthread_getcpuclockid"):
            raise Misconfigured(f"{sys.platform} has no CPU clocks of threads: start the agent with cpu=False")
        if not 0 < seconds <= every <= _LONGEST:
            raise Misconfigured(
                f"seconds={seconds} of every={every}: a profile takes more than 0 seconds and ends before "
                f"the next, which begins {_LONGEST:.0f} seconds later at most"
            )
        check_service(service, Limits())
        where, headers = _address(url, key or os.environ.get(KEY_VARIABLE, ""))
        pairs = Labels.from_pairs((labels or {}).items())
        return cls(where, service, pairs, headers, every, seconds, cpu, heap, wall)

    @classmethod
    def from_env(cls) -> "Settings | None":
        """What `profbucket run` says, or ``None`` where the program was not started by it."""
        text = os.environ.get(SETTINGS_VARIABLE)
        if not text:
            return None
        try:
            return cls.create(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise Misconfigured(
                f"{SETTINGS_VARIABLE}={text[:80]!r} is not a value of `profbucket run`: {error}"
            ) from None

    def address(self, profile_type: str) -> str:
        """Where a profile of *profile_type* is posted to."""
        query = {"service": self.service, "type": profile_type}
        if self.labels:
            query["labels"] = self.labels.format()
        return f"{self.url}/api/0/profiles?{urlencode(query)}"


def _address(url: str, key: str) -> tuple[str, dict[str, str]]:
    """The collector without what is secret, and the headers that are."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except (ValueError, AttributeError, TypeError):
        known = False
    if not known:
        shown = f"…@{str(url).rpartition('@')[2]}" if "@" in str(url) else str(url)  # in front of it is a key
        raise Misconfigured(f"not a collector's URL: {shown[:120]!r}; it is as in https://collector.example.com")
    if any(ord(char) < 33 or ord(char) > 126 for char in key):
        raise Misconfigured(f"the key of {KEY_VARIABLE}, or key=, has characters that are in no key")
    headers = {}
    if parts.password:
        user = f"{unquote(parts.username or '')}:{unquote(parts.password)}"
        headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    elif key:
        headers["Authorization"] = f"Bearer {key}"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", "")), headers
