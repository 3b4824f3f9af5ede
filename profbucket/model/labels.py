"""Labels of a profile, and matchers that select by them.

Written ``key=value,key=value``. Key and value are percent-encoded once more than the URL they stand in, as
profefe's agent sends them.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote_plus

from profbucket.errors import Invalid
from profbucket.model.regex import compile_pattern

_MATCHER = re.compile(r"([^=!]*(?:!(?![=~])[^=!]*)*)(=~|!~|!=|=)(.*)", re.DOTALL)
_FORMS = "write key=value, key!=value, key=~regex or key!~regex"
_SURROGATE = re.compile("[\ud800-\udfff]")
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Labels:
    """A profile's labels: pairs of key and value, sorted, each key once."""

    pairs: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[str, str]]) -> "Labels":
        """Labels from *pairs* in any order; raise ``Invalid`` for an empty key or a key with two values."""
        labels: dict[str, str] = {}
        for key, value in pairs:
            if not key:
                raise Invalid(f"a label without a name: {_shown(f'={value}')!r}")
            for text in (key, value):
                if CONTROL.search(text):
                    raise Invalid(f"a control character in label {_shown(key)!r}: {_shown(text)!r}")
            if labels.setdefault(key, value) != value:
                raise Invalid(f"label {_shown(key)!r} is given twice, with different values")
        return cls(tuple(sorted(labels.items())))

    @classmethod
    def parse(cls, text: str) -> "Labels":
        """Read ``key=value,…``; empty items are skipped. Raise ``Invalid`` for an item without ``=``."""
        pairs = []
        for item in filter(None, text.split(",")):
            key, equals, value = item.partition("=")
            if not equals:
                raise Invalid(f"a label without '=': {_shown(item)!r}; write labels as key=value,key=value")
            pairs.append((_unquote(key), _unquote(value)))
        return cls.from_pairs(pairs)

    def format(self) -> str:
        """What :meth:`parse` reads back, in ASCII. Equal labels have equal texts."""
        return ",".join(f"{_quote(key)}={_quote(value)}" for key, value in self.pairs)

    def get(self, key: str) -> str:
        """The value of *key*, or ``""`` where there is none."""
        return next((value for name, value in self.pairs if name == key), "")

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on labels: ``=``, ``!=``, ``=~`` or ``!~``. A label that is missing has the value ``""``.

    Regular expressions are RE2's, match the whole value and run in linear time.
    """

    key: str
    operator: str
    value: str
    _pattern: Any = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        if _SURROGATE.search(self.key + self.value):  # what a terminal's other encodings come as
            raise Invalid(f"a label that is not UTF-8: {_shown(self.key + self.operator + self.value)!r}")

    @classmethod
    def parse(cls, text: str) -> "Matcher":
        """Read one condition as a person types it, ``key=value``: nothing in it is percent-encoded."""
        match = _MATCHER.fullmatch(text)
        if not match or not match[1]:
            raise Invalid(f"no label's condition: {_shown(text)!r}; {_FORMS}")
        return cls(*match.groups())

    def format(self) -> str:
        """What :func:`parse_matchers` reads back, in ASCII."""
        return f"{_quote(self.key)}{self.operator}{_quote(self.value)}"

    def compile(self) -> "Matcher":
        """Return the matcher, its regular expression compiled; raise ``Invalid`` if that is malformed.

        A new matcher is not compiled: RE2 comes with the server, and a client only formats matchers.
        """
        if self.operator in ("=~", "!~") and self._pattern is None:
            object.__setattr__(self, "_pattern", _compile(self.key, self.value))
        return self

    def matches(self, labels: Labels) -> bool:
        """Return whether the matcher selects a profile with *labels*."""
        value = labels.get(self.key)
        if self.operator in ("=", "!="):
            return (value == self.value) == (self.operator == "=")
        self.compile()
        return (self._pattern.fullmatch(value) is not None) == (self.operator == "=~")


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """Read ``key=value,key!=value,key=~regex,key!~regex``; empty items are skipped.

    A comma or a percent sign in a value, and a tilde or an exclamation mark in front of it, are percent-encoded.
    """
    matchers = []
    for item in filter(None, text.split(",")):
        match = _MATCHER.fullmatch(item)
        if not match:
            raise Invalid(f"a label without '=': {_shown(item)!r}; {_FORMS}")
        key, operator, value = match.groups()
        if not key:
            raise Invalid(f"a label without a name: {_shown(item)!r}")
        matchers.append(Matcher(_unquote(key), operator, _unquote(value)).compile())
    return tuple(matchers)


def _compile(key: str, pattern: str) -> Any:
    try:
        return compile_pattern(pattern)
    except Invalid as error:
        raise Invalid(f"label {_shown(key)!r}: {error}") from None


def _quote(text: str) -> str:
    # The tilde would be an operator behind "=".
    return quote(text, safe="").replace("~", "%7E")


def _unquote(text: str) -> str:
    try:
        return unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        raise Invalid(f"a label that is not UTF-8: {_shown(text)!r}") from None


def _shown(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "…"
