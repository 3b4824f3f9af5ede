"""Selectors of series in PromQL's form: ``{service_name="shop", version=~"1.*"}``."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.model.labels import Matcher

SERVICE = "service_name"  # the label that is the service

_STRING = r""""(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`"""
# Names are more than in PromQL: those of OpenTelemetry have dots.
_CONDITION = re.compile(
    rf"""\s*(?P<name>[^\s"'`{{}}=!~,]+|{_STRING})\s*(?P<operator>=~|!~|!=|=)\s*(?P<value>{_STRING})\s*(?:,|$)""",
    re.DOTALL,
)
_ESCAPE = re.compile(
    rb"""\\(?:(?P<char>[abfnrtv\\"'])|x(?P<hex>[0-9A-Fa-f]{2})|(?P<octal>[0-3][0-7]{2})"""
    rb"""|u(?P<short>[0-9A-Fa-f]{4})|U(?P<long>[0-9A-Fa-f]{8})|)""",
    re.DOTALL,
)
_CHARACTERS = dict(zip(b"abfnrtv\\\"'", b"\a\b\f\n\r\t\v\\\"'", strict=True))

_SHOWN_CHARACTERS = 80  # of a selector in an error message


@dataclass(frozen=True, slots=True)
class Selector:
    """The conditions of a selector: on the service, on the profile type and on the labels of a series.

    Those on the profile type are about labels between double underscores, such as ``__profile_type__``.
    """

    service: tuple[Matcher, ...] = ()
    profile_type: tuple[Matcher, ...] = ()
    labels: tuple[Matcher, ...] = ()

    @classmethod
    def parse(cls, text: str, limits: Limits = Limits()) -> "Selector":
        """Read ``{name="value",…}``; an empty text has no conditions, like ``{}``. Raise ``Invalid``."""
        # Regular expressions take time to compile: those beyond the limit are not.
        matchers = list(islice(_parse_conditions(text), limits.labels + 1))
        if len(matchers) > limits.labels:
            raise limits.invalid("labels", f"the selector has more than {limits.labels} conditions")
        matchers = [matcher.compile() for matcher in matchers]
        return cls(
            tuple(matcher for matcher in matchers if matcher.key == SERVICE),
            tuple(matcher for matcher in matchers if is_hidden(matcher.key)),
            tuple(matcher for matcher in matchers if matcher.key != SERVICE and not is_hidden(matcher.key)),
        )


def is_hidden(name: str) -> bool:
    """Return whether the label *name* is one of Pyroscope's own, which lists omit."""
    return name.startswith("__")


def _parse_conditions(text: str) -> Iterator[Matcher]:
    stripped = text.strip()
    if not stripped:
        return
    if not stripped.startswith("{") or not stripped.endswith("}"):
        raise _invalid(text, "is not in braces")
    conditions = stripped[1:-1].rstrip()
    position = 0
    while position < len(conditions):
        match = _CONDITION.match(conditions, position)
        if not match:
            raise _invalid(text, f"is malformed at {conditions[position : position + 20]!r}")
        name = match["name"]
        if name[0] in "\"'`":
            name = _unquote(name, text)
        if not name:
            raise _invalid(text, "has a condition without a name")
        yield Matcher(name, match["operator"], _unquote(match["value"], text))
        position = match.end()


def _unquote(literal: str, text: str) -> str:
    """Return the value of a Go string *literal* in the selector *text*."""
    if literal[0] == "`":
        return literal[1:-1]
    try:
        return _ESCAPE.sub(_unescape, literal[1:-1].encode()).decode()
    except (ValueError, OverflowError):
        raise _invalid(text, f"has a malformed string {literal[:_SHOWN_CHARACTERS]}") from None


def _unescape(match: re.Match[bytes]) -> bytes:
    """Return the bytes of an escape sequence; raise ``ValueError`` or ``OverflowError`` for an unknown one."""
    if match["char"]:
        return bytes([_CHARACTERS[match["char"][0]]])
    if match["hex"]:
        return bytes([int(match["hex"], 16)])
    if match["octal"]:
        return bytes([int(match["octal"], 8)])
    return chr(int(match["short"] or match["long"] or b"-1", 16)).encode()


def _invalid(text: str, problem: str) -> Invalid:
    return Invalid(
        f"the selector {text[:_SHOWN_CHARACTERS]!r} {problem}; write "
        '{service_name="shop",version=~"1.*"} with =, !=, =~ or !~',
        code="invalid_matcher",
    )
