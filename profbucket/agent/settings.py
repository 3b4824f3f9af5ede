"""The agent's settings, from :func:`profbucket.agent.start` or, under `profbucket run`, from the environment."""

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from profbucket.errors import Misconfigured
from profbucket.limits import Limits
from profbucket.model.ids import check_service
from profbucket.model.labels import Labels
from profbucket.timed_http import HttpUrl

SETTINGS_VARIABLE = "PROFBUCKET_AGENT"  # set by `profbucket run`: the arguments of Settings.create, in JSON
KEY_VARIABLE = "PROFBUCKET_KEY"

_MAX_INTERVAL_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Settings:
    """The destination and schedule of profiles. Every ``every`` seconds, profile for ``seconds``.

    ``url`` is without credentials; they are in ``headers``, which ``repr`` does not show.
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
        """Validate all arguments. *key* defaults to ``PROFBUCKET_KEY``.

        Raise ``Misconfigured`` or ``Invalid`` for an invalid argument or an unsupported Python.
        """
        if sys.version_info < (3, 11, 5):  # before, sys._current_frames() may deadlock
            raise Misconfigured(
                f"the agent requires Python 3.11.5 or newer, not {sys.version.split()[0]}",
                code="unsupported_platform",
            )
        if cpu and not hasattr(time, "pthread_getcpuclockid"):
            raise Misconfigured(
                f"{sys.platform} has no CPU clocks of threads; start the agent with cpu=False",
                code="unsupported_platform",
            )
        if not 0 < seconds <= every <= _MAX_INTERVAL_SECONDS:
            raise Misconfigured(
                f"seconds={seconds}, every={every}: seconds must be more than 0 and at most every, "
                f"and every at most {_MAX_INTERVAL_SECONDS:.0f}"
            )
        check_service(service, Limits())
        base, headers = _split_credentials(url, key or os.environ.get(KEY_VARIABLE, ""))
        pairs = Labels.from_pairs((labels or {}).items())
        return cls(base, service, pairs, headers, every, seconds, cpu, heap, wall)

    @classmethod
    def from_env(cls) -> "Settings | None":
        """Return the settings that `profbucket run` passes on, or ``None`` in a program that it did not start."""
        text = os.environ.get(SETTINGS_VARIABLE)
        if not text:
            return None
        try:
            return cls.create(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise Misconfigured(f"invalid {SETTINGS_VARIABLE}={text[:80]!r}: {error}") from None

    def parameters(self, profile_type: str) -> dict[str, str]:
        """Return the parameters with which profiles of *profile_type* are posted."""
        parameters = {"service": self.service, "type": profile_type}
        if self.labels:
            parameters["labels"] = self.labels.format()
        return parameters


def _split_credentials(url: str, key: str) -> tuple[str, dict[str, str]]:
    """Return the collector's URL without credentials, and the headers for them."""
    try:
        parsed = HttpUrl.parse(str(url))
    except ValueError as error:
        raise Misconfigured(
            f"invalid collector URL: {error}; write it as https://collector.example.com", code="invalid_url"
        ) from None
    if any(ord(char) < 33 or ord(char) > 126 for char in key):
        raise Misconfigured(f"the API key in key= or {KEY_VARIABLE} has invalid characters")
    headers = {}
    if parsed.password:
        headers["Authorization"] = parsed.basic_auth()
    elif key:
        headers["Authorization"] = f"Bearer {key}"
    return parsed.base, headers
