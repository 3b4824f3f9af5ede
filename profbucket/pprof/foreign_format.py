"""Recognize inputs that are not one pprof: forms, the formats before it, and several pprofs joined together."""

import re
import struct
from collections.abc import Sequence

from profbucket.errors import Invalid

_HEAD_BYTES = 4096

# Headers of the text formats, in the order in which they are tried; see google/pprof's legacy_profile.go.
_TEXT_FORMATS = (
    (re.compile(rb"heap profile:[^\n]*@ *growthz?\b"), "a heap growth profile in text"),
    (re.compile(rb"heap profile:[^\n]*@ *fragmentationz?\b"), "a heap fragmentation profile in text"),
    (re.compile(rb"heap profile: *\d+: *\d+"), "a heap profile in text"),
    (re.compile(rb"--- heapz \d+ ---"), "a Java heap profile in text"),
    (re.compile(rb"--- contentionz \d+ ---"), "a contention profile in text"),
    (re.compile(rb"--- mutex:"), "a mutex profile in text"),
    (re.compile(rb"--- contention:"), "a contention profile in text"),
    (re.compile(rb"--- threadz \d+ ---"), "a thread profile in text"),
    (re.compile(rb"--- Thread [0-9A-Fa-f]+ \(name: "), "a thread profile in text"),
    (re.compile(rb"\S+ profile: total \d+\s*$", re.MULTILINE), "a profile of counts in text (debug=1)"),
    (re.compile(rb"goroutine \d+ (?:[^\n\[]+ )?\[[^\n]*\]:"), "a dump of goroutines in text (debug=2)"),
)
_FORM = re.compile(rb"--[^\r\n]{1,70}\r\nContent-Disposition: *form-data\b", re.IGNORECASE)
_NOT_CONVERTIBLE = "a dump of goroutines in text (debug=2)"
_CPU_HEADERS = tuple(struct.Struct(f"{order}5{word}") for word in "IQ" for order in "<>")


def describe_foreign_format(raw: bytes, strings: Sequence[bytes] = ()) -> Invalid | None:
    """Return a better error for *raw*, which is not a valid pprof, or ``None`` if nothing is known about it.

    *strings* is its string table, as far as it was parsed. The code is ``invalid_protobuf``, ``legacy_format`` or
    ``concatenated_profiles``.
    """
    if _FORM.match(raw):
        return Invalid(
            "not a pprof, but a form (multipart/form-data); send the file itself: `curl --data-binary @FILE`",
            code="invalid_protobuf",
        )
    if name := _name_legacy_format(raw):
        advice = (
            "request it with debug=0"
            if name == _NOT_CONVERTIBLE
            else "convert it with `go tool pprof -proto FILE`, or request it with debug=0"
        )
        return Invalid(f"not a pprof, but {name}; {advice}", code="legacy_format")
    # Each pprof begins its string table with the empty string, and encoders write each string once.
    if strings and not strings[0] and b"" in strings[1:]:
        return Invalid(
            "the profile is inconsistent: it seems to be several pprofs joined together; send them one by one, "
            "or merge them with `profbucket merge FILE…`",
            code="concatenated_profiles",
        )
    return None


def _name_legacy_format(raw: bytes) -> str:
    """Return the name of the format before pprof that *raw* has, or an empty text."""
    for header in _CPU_HEADERS:
        if len(raw) >= header.size:
            first, header_words, version, period, padding = header.unpack_from(raw)
            if (first, header_words, padding) == (0, 3, 0) and version in (0, 1) and period:
                return "a CPU profile in gperftools' binary format"
    # Comments and empty lines may precede the header.
    for line in re.split(rb"\r?\n", raw[:_HEAD_BYTES]):
        if line.strip() and not line.startswith(b"#"):
            return next((name for pattern, name in _TEXT_FORMATS if pattern.match(line.strip())), "")
    return ""
