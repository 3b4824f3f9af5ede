"""Regular expressions from clients, in RE2, which matches in linear time."""

from importlib import import_module
from typing import Any

from profbucket.errors import Invalid

_MAX_COMPILED_BYTES = 1 << 20  # nested repetitions would otherwise take any amount of memory


def compile_pattern(pattern: str | bytes) -> Any:
    """Compile *pattern*, or raise ``Invalid`` with RE2's reason."""
    re2: Any = import_module("re2")  # a C++ library that few requests need; it ships no types
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_COMPILED_BYTES
    options.never_capture = True  # groups take time, and nobody asks for them
    try:
        return re2.compile(pattern, options)
    except UnicodeEncodeError:
        text = "it is not UTF-8"
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
    raise Invalid(f"invalid regular expression (RE2 syntax): {text[:80]}", code="invalid_regex")
