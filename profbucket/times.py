"""Times as whole nanoseconds since 1970 in UTC, as in pprof; a float would lose digits."""

import re
import time
from datetime import UTC, date, datetime
from functools import lru_cache

from profbucket.errors import Invalid, Unavailable

SECOND = 10**9
DAY_SECONDS = 86_400
DAY = DAY_SECONDS * SECOND
LATEST = 2**63 - 1  # April 2262: the largest value of pprof's time_nanos and of Firestore's integers
_EPOCH = date(1970, 1, 1)

_CLOCK = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9})\d*)?"
    r"(?:[Zz]|([+ -])(\d{2}):?(\d{2}))?",  # an unescaped "+" in a URL arrives as a space
    re.ASCII,
)
_UNIX = re.compile(r"(\d{1,10})(?:\.(\d{1,9})\d*)?", re.ASCII)
_RELATIVE = re.compile(r"(?:now)?(?:([+ -])((?:\d{1,9}[smhdw])+))?", re.ASCII)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": DAY_SECONDS, "w": 7 * DAY_SECONDS}

_NANOS_PER_UNIT = {10: SECOND, 13: SECOND // 10**3, 16: SECOND // 10**6, 19: 1}  # by the number of digits

FORMS = "2006-01-02T15:04:05, RFC 3339, unix seconds, now, now-1h or -15m"


def parse_time(text: str, now: int, *, end: bool = False) -> int:
    """Read a time in any of the forms of ``FORMS``; without a zone it is in UTC. Raise ``Invalid`` for others.

    ``now`` means *now*. With *end*, a time in whole seconds is the last nanosecond of that second: responses show
    times in whole seconds, and a range that ends at the time of a profile includes the profile.
    """
    text = text.strip()
    default_nanos = SECOND - 1 if end else 0
    if match := _UNIX.fullmatch(text):
        return _check_range(text, int(match[1]) * SECOND + _parse_fraction(match[2], default_nanos))
    if match := _CLOCK.fullmatch(text):
        year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
        try:
            days = (date(year, month, day) - _EPOCH).days
        except ValueError:
            raise _invalid(text, "no such day") from None
        if hour > 23 or minute > 59 or second > 60:
            raise _invalid(text, "no such time of day")
        seconds = days * DAY_SECONDS + hour * 3600 + minute * 60 + second
        if match[8]:
            offset = int(match[9]) * 3600 + int(match[10]) * 60
            if offset >= DAY_SECONDS or int(match[10]) > 59:
                raise _invalid(text, "no such zone")
            seconds += offset if match[8] == "-" else -offset
        return _check_range(text, seconds * SECOND + _parse_fraction(match[7], default_nanos))
    if text and (match := _RELATIVE.fullmatch(text)):
        shift = sum(int(part[:-1]) * _UNITS[part[-1]] for part in re.findall(r"\d+[smhdw]", match[2] or ""))
        return _check_range(text, now + (-shift if match[1] == "-" else shift) * SECOND)
    raise _invalid(text, f"write it as {FORMS}")


def parse_unix_time(text: str, now: int) -> int | None:
    """Read a time as Pyroscope's clients write it; return ``None`` for an empty text. Raise ``Invalid``.

    A number is in seconds, milliseconds, microseconds or nanoseconds, by the number of its digits.
    """
    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) in _NANOS_PER_UNIT:
        return int(text) * _NANOS_PER_UNIT[len(text)]
    return parse_time(text, now)


def _parse_fraction(digits: str | None, default_nanos: int) -> int:
    return int(digits.ljust(9, "0")) if digits else default_nanos


def _check_range(text: str, time: int) -> int:
    if not 0 <= time <= LATEST:
        raise _invalid(text, "it must be from 1970 to 2262")
    return time


def _invalid(text: str, reason: str) -> Invalid:
    return Invalid(f"invalid time {text[:80]!r}; {reason}", code="invalid_time")


def read_clock() -> int:
    """Return the time; raise ``Unavailable`` if the machine's clock is not from 1970 to 2262."""
    nanoseconds = time.time_ns()
    if not 0 <= nanoseconds <= LATEST:
        raise Unavailable(f"the clock of this machine is wrong: it says {nanoseconds} ns since 1970; set it")
    return nanoseconds


def format_time(time: int) -> str:
    """Return *time* in RFC 3339 in UTC, truncated to seconds: ``2026-11-22T22:51:07Z``."""
    return datetime.fromtimestamp(time // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_stamp(time: int) -> str:
    """Return *time* as a text that sorts by time, for names: ``20261122T225107.123456789Z``."""
    minutes, nanos = divmod(time, 60 * SECOND)
    seconds, nanos = divmod(nanos, SECOND)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{_format_day(days)}T{hours:02d}{minutes:02d}{seconds:02d}.{nanos:09d}Z"


@lru_cache(1024)
def _format_day(days: int) -> str:
    return f"{datetime.fromtimestamp(days * DAY_SECONDS, UTC):%Y%m%d}"


def parse_stamp(stamp: str) -> int:
    """Read what :func:`format_stamp` wrote, or raise ``ValueError``."""
    match = re.fullmatch(r"(\d{8}T\d{6})\.(\d{9})Z", stamp, re.ASCII)
    if not match:
        raise ValueError(f"not a timestamp: {stamp!r}")
    moment = datetime.strptime(match[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    return int(moment.timestamp()) * SECOND + int(match[2])
