"""Labels of a profile, and the matchers that select profiles by label.

Both are written ``key=value,key=value``. Keys and values are percent-encoded, on top of the encoding of the URL
they are part of: profefe's agent sends them so.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote_plus

from profbucket.errors import Invalid
from profbucket.model.regex import compile_pattern

_MATCHER = re.compile(r"([^=!]*(?:!(?![=~])[^=!]*)*)(=~|!~|!=|=)(.*)", re.DOTALL)
_MATCHER_FORMS = "write key=value, key!=value, key=~regex or key!~regex"
_SURROGATE = re.compile("[\ud800-\udfff]")
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Labels:
    """A profile's labels: pairs of key and value, sorted, with unique keys."""

    pairs: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[str, str]]) -> "Labels":
        """Return the labels of *pairs*, in any order.

        Raise ``Invalid`` for an empty key, a control character, or a key with two different values.
        """
        labels: dict[str, str] = {}
        for key, value in pairs:
            if not key:
                raise _invalid_label(f"label without a key: {_shorten(f'={value}')!r}")
            if CONTROL.search(key) or CONTROL.search(value):
                text = key if CONTROL.search(key) else value
                raise _invalid_label(f"control character in label {_shorten(key)!r}: {_shorten(text)!r}")
            if labels.setdefault(key, value) != value:
                raise _invalid_label(f"label {_shorten(key)!r} is given twice, with different values")
        return cls(tuple(sorted(labels.items())))

    @classmethod
    def parse(cls, text: str) -> "Labels":
        """Read ``key=value,…``, skipping empty items. Raise ``Invalid`` for an item without ``=``."""
        if (pairs := _parse_formatted(text)) is not None:
            return cls(pairs)
        decode = _unquote if "%" in text or "+" in text else str
        decoded = []
        for item in filter(None, text.split(",")):
            key, equals, value = item.partition("=")
            if not equals:
                raise _invalid_label(f"label without '=': {_shorten(item)!r}; write labels as key=value,key=value")
            decoded.append((decode(key), decode(value)))
        return cls.from_pairs(decoded)

    def format(self) -> str:
        """Return the ASCII text that :meth:`parse` reads. Equal labels have equal texts."""
        return _format(self.pairs)

    def get(self, key: str) -> str:
        """Return the value of *key*, or ``""`` without that label."""
        return next((value for name, value in self.pairs if name == key), "")

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on labels, with the operator ``=``, ``!=``, ``=~`` or ``!~``.

    A missing label has the value ``""``. Regular expressions are RE2's and match the whole value.
    """

    key: str
    operator: str
    value: str
    _pattern: Any = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        if _SURROGATE.search(self.key + self.value):  # the decoding of non-UTF-8 command-line arguments
            raise _invalid_matcher(
                f"label matcher is not UTF-8: {_shorten(self.key + self.operator + self.value)!r}"
            )

    @classmethod
    def parse(cls, text: str) -> "Matcher":
        """Read one matcher as typed by a person: nothing in it is percent-encoded."""
        match = _MATCHER.fullmatch(text)
        if not match or not match[1]:
            raise _invalid_matcher(f"invalid label matcher {_shorten(text)!r}; {_MATCHER_FORMS}")
        return cls(*match.groups())

    def format(self) -> str:
        """Return the ASCII text that :func:`parse_matchers` reads."""
        return f"{_quote(self.key)}{self.operator}{_quote(self.value)}"

    def compile(self) -> "Matcher":
        """Return the matcher, its regular expression compiled; raise ``Invalid`` if that is malformed.

        A new matcher is not compiled: RE2 comes with the server, and a client only formats matchers.
        """
        if self.operator in ("=~", "!~") and self._pattern is None:
            object.__setattr__(self, "_pattern", _compile(self.key, self.value))
        return self

    def matches(self, labels: Labels) -> bool:
        """Return whether *labels* fulfil the condition."""
        return self.matches_value(labels.get(self.key))

    def matches_value(self, value: str) -> bool:
        """Return whether a label with this *value* fulfils the condition."""
        if self.operator in ("=", "!="):
            return (value == self.value) == (self.operator == "=")
        self.compile()
        return (self._pattern.fullmatch(value) is not None) == (self.operator == "=~")


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """Read ``key=value,key!=value,key=~regex,key!~regex``, skipping empty items.

    A comma or percent sign in a value is percent-encoded, as is a tilde or exclamation mark at its beginning.
    """
    matchers = []
    for item in filter(None, text.split(",")):
        match = _MATCHER.fullmatch(item)
        if not match:
            raise _invalid_matcher(f"label matcher without '=': {_shorten(item)!r}; {_MATCHER_FORMS}")
        key, operator, value = match.groups()
        if not key:
            raise _invalid_matcher(f"label matcher without a key: {_shorten(item)!r}; {_MATCHER_FORMS}")
        matchers.append(Matcher(_unquote(key), operator, _unquote(value)).compile())
    return tuple(matchers)


def _compile(key: str, pattern: str) -> Any:
    try:
        return compile_pattern(pattern)
    except Invalid as error:
        raise error.about(f"label {_shorten(key)!r}") from None


def _parse_formatted(text: str) -> tuple[tuple[str, str], ...] | None:
    """Return the pairs of a text that :func:`_format` wrote; ``None`` if it has escapes or another form.

    An index has thousands of them, which take five times as long in any order.
    """
    if "%" in text or "+" in text or not (text.isascii() and text.isprintable()):
        return None
    pairs = []
    last_key = ""
    for item in text.split(","):
        key, equals, value = item.partition("=")
        if key <= last_key or not equals:
            return None
        last_key = key
        pairs.append((key, value))
    return tuple(pairs)


@lru_cache(256)  # of the series that are posted most; each post needs the text several times
def _format(pairs: tuple[tuple[str, str], ...]) -> str:
    return ",".join(f"{_quote(key)}={_quote(value)}" for key, value in pairs)


def _quote(text: str) -> str:
    return quote(text, safe="").replace("~", "%7E")  # a tilde after "=" would be part of the operator


def _unquote(text: str) -> str:
    try:
        return unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        raise _invalid_label(f"label is not UTF-8: {_shorten(text)!r}") from None


def _invalid_label(message: str) -> Invalid:
    return Invalid(message, code="invalid_label")


def _invalid_matcher(message: str) -> Invalid:
    return Invalid(message, code="invalid_matcher")


def _shorten(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "…"
