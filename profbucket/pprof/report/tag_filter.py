"""The filters ``tagfocus`` and ``tagignore``, which select samples by their labels."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from profbucket.errors import Invalid
from profbucket.pprof.numbers import MAX_INT64
from profbucket.pprof.report.regex_match import NamePattern
from profbucket.pprof.report.sample_labels import SampleLabels
from profbucket.pprof.report.units import convert

_MAX_PATTERNS = 64
_QUANTITY = re.compile(r"([+-]?[0-9]+)([A-Za-z]+)?")  # linear: no digit is a letter


@dataclass(frozen=True, slots=True)
class _Range:
    """Numbers from ``low`` to ``high``, both included, in ``unit``."""

    low: float
    high: float
    unit: str

    def contains(self, number: int, unit: str) -> bool:
        """Return whether *number* in *unit*, which must be convertible, is in the range."""
        value, symbol = convert(number, unit, self.unit)
        return symbol == self.unit and self.low <= value <= self.high


class TagFilter:
    """The condition *text* on the labels of a sample: ``[key=]regex,…`` or ``[key=]range``.

    A range is ``128kb``, ``:128kb``, ``128kb:`` or ``1kb:128kb``; some number of the sample, or of *key*, must be
    in it. Regular expressions with a key apply to its texts, one of which must match one of them. Without a key,
    they apply to ``key:text``, and each of them must match. Errors call the filter *name*.

    Raise ``Invalid`` for a malformed regular expression (code ``invalid_regex``), for too many of them, and for a
    number of more than 64 bits (``invalid_parameter``).
    """

    def __init__(self, name: str, text: str, check_time: Callable[[], None]) -> None:
        key, equals, value = text.partition("=")
        self._key = key.encode(errors="surrogateescape") or None if equals else None
        self._value = value if equals else text
        self._range = _parse_range(name, self._value)
        patterns = [] if self._range else self._value.split(",")
        if len(patterns) > _MAX_PATTERNS:
            raise Invalid(
                f"{name} has {len(patterns)} regular expressions; at most {_MAX_PATTERNS} are allowed",
                code="invalid_parameter",
            )
        self._matchers = [NamePattern(pattern, check_time) for pattern in patterns]

    def matches(self, labels: SampleLabels, units: Mapping[bytes, bytes]) -> bool:
        """Return whether a sample with *labels* matches; *units* are those of the profile's numbers, by key."""
        if self._range is not None:
            keys = labels.numbers if self._key is None else (self._key,)
            return any(
                self._range.contains(number, units[key].decode(errors="replace"))
                for key in keys
                for number in labels.numbers.get(key, ())
            )
        if self._key is not None:
            texts: Sequence[bytes] = labels.texts.get(self._key, ())
            return any(matcher(text) for matcher in self._matchers for text in texts)
        pairs = [(key, text) for key, texts in labels.texts.items() for text in texts]
        return all(any(matcher(key, text) for key, text in pairs) for matcher in self._matchers)


def _parse_range(name: str, text: str) -> _Range | None:
    """Return the range that *text* describes, or ``None`` if it is to be read as a regular expression."""
    quantities = list(islice(_QUANTITY.finditer(text), 2))
    if not quantities:
        return None
    first, second = quantities[0], quantities[-1]
    # A range without a unit selects numbers without one. The first unit decides in which one to compare.
    low, unit = _read_quantity(name, first, first[2] or "")
    infinity = float("inf")
    if len(quantities) == 2:
        high, other_unit = _read_quantity(name, second, unit)
        is_range = text == f"{first[0]}:{second[0]}" and unit == other_unit
        return _Range(low, high, unit) if is_range else None
    bounds = {first[0]: (low, low), f"{first[0]}:": (low, infinity), f":{first[0]}": (-infinity, low)}
    return _Range(*bounds[text], unit) if text in bounds else None


def _read_quantity(name: str, quantity: re.Match[str], to: str) -> tuple[float, str]:
    digits = quantity[1]
    if len(digits) > 20 or not -MAX_INT64 - 1 <= int(digits) <= MAX_INT64:
        raise Invalid(f"{name}: {digits[:40]} does not fit into 64 bits", code="invalid_parameter")
    return convert(int(digits), quantity[2] or "", to)
