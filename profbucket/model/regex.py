"""Regular expressions from strangers: RE2's, which run in linear time whatever they are matched with."""

from importlib import import_module
from typing import Any

from profbucket.errors import Invalid

_MEMORY = 1 << 20  # bytes that a compiled expression may take; nested repetitions would take any number


def compile_pattern(pattern: str | bytes) -> Any:
    """Compile *pattern*, or raise ``Invalid`` with RE2's reason."""
    re2: Any = import_module("re2")  # a C++ library that few requests need; it ships no types
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise Invalid(f"not a regular expression (RE2): {text[:80]}") from None
