"""The report of `go tool pprof -tags`: the labels of samples, with the totals of their values."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from profbucket.limits import Limits
from profbucket.pprof.codec import parse_valid
from profbucket.pprof.numbers import wrap_int64
from profbucket.pprof.report.function_names import intern_strings
from profbucket.pprof.report.sample_labels import find_units, read_labels
from profbucket.pprof.report.stacks import shorten_name
from profbucket.pprof.report.top import compute_total, find_sample_type, sample_types_to_json
from profbucket.pprof.report.units import format_value
from profbucket.pprof.units import FAMILIES

_MAX_KEYS = 100
_MAX_VALUES = 1000  # of one key
_MAX_LISTED = 10_000  # values of all keys

_Totals = Mapping[bytes | int, int]  # by the text or number of a label


def build_tags(data: bytes, sample_type: str = "", limits: Limits = Limits()) -> dict[str, Any]:
    """Return the labels of the samples in *data*, a valid pprof, as the API's JSON.

    Totals are of *sample_type*, by default the profile's. Keys and values with the largest ones come first; if
    there are too many, the others are only counted.

    Raise ``Invalid`` (code ``unknown_sample_type``) if there is no such sample type, and ``TooLarge`` if *data*
    exceeds one of *limits*.
    """
    message = parse_valid(data, limits)
    column = find_sample_type(message, sample_type)
    strings = intern_strings(message)
    units = find_units(message, strings)
    totals: defaultdict[bytes, Counter[bytes | int]] = defaultdict(Counter)
    for sample in message.sample:
        labels, sample_value = read_labels(sample, strings), sample.value[column]
        for key, texts in labels.texts.items():
            for text in texts:
                totals[key][text] += sample_value
        for key, numbers in labels.numbers.items():
            for number in numbers:
                totals[key][number] += sample_value
    sums = {key: wrap_int64(sum(values.values())) for key, values in totals.items()}
    keys = sorted(sums, key=lambda key: (-abs(sums[key]), key))
    tags, room = [], _MAX_LISTED
    for key in keys[:_MAX_KEYS]:
        values = _list_values(totals[key], units.get(key, b""), min(room, _MAX_VALUES))
        tags.append({"key": shorten_name(key), "total": sums[key], **_unit_to_json(key, units), **values})
        room -= len(values["values"])
    return {
        "sample_type": sample_types_to_json(message)[column],
        "total": wrap_int64(compute_total(message, column)),
        "tags": tags,
        "others": len(keys) - len(tags),
    }


def _list_values(totals: _Totals, unit: bytes, count: int) -> dict[str, Any]:
    """Return the *count* values with the largest totals, and the number of the others."""

    def to_text(value: bytes | int) -> str:
        if isinstance(value, bytes):
            return shorten_name(value)
        return format_value(value, unit.decode(errors="replace"))

    largest = sorted(totals, key=lambda value: (-abs(totals[value]), isinstance(value, int), value))[:count]
    values = [
        {
            "value": to_text(value),
            **({"number": value} if isinstance(value, int) else {}),
            "total": wrap_int64(totals[value]),
        }
        for value in largest
    ]
    return {"values": values, "others": len(totals) - len(values)}


def _unit_to_json(key: bytes, units: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return the unit of the numbers of *key*; none if there are no numbers, or if the key stands for a unit."""
    unit = units.get(key)
    text = shorten_name(unit or b"")
    is_known = unit != key or any(family.find(text) for family in FAMILIES)
    return {"unit": text} if unit is not None and is_known else {}
