"""Regular expressions of clients, searched in the strings of a profile."""

from collections.abc import Callable

from profbucket.model.regex import compile_pattern

# The most that is searched of one string, and between two checks of the deadline. RE2's time is at most in
# proportion to the string times the pattern, but a name may have megabytes.
_MAX_SEARCHED_BYTES = 64 << 10
_MAX_KNOWN = 100_000  # results that are remembered; each takes 100 bytes or more


class NamePattern:
    """Searches for *pattern* (RE2) in strings, and remembers some of those that it has seen.

    Only the beginning of a very long string is searched. *check_time* is called now and then, and may raise an
    error. Raise ``Invalid`` (code ``invalid_regex``) if *pattern* is not valid.
    """

    def __init__(self, pattern: str, check_time: Callable[[], None]) -> None:
        self._regex = compile_pattern(pattern)
        self._check_time = check_time
        self._searched_bytes = 0  # since the last check
        self._known: dict[tuple[bytes, ...], bool] = {}

    def __call__(self, *parts: bytes) -> bool:
        """Return whether *parts*, joined by colons, contain a match.

        They are remembered apart: joining one long key with each of many texts could take any amount of memory.
        """
        result = self._known.get(parts)
        if result is None:
            searched = b":".join(part[:_MAX_SEARCHED_BYTES] for part in parts)[:_MAX_SEARCHED_BYTES]
            self._searched_bytes += len(searched)
            if self._searched_bytes > _MAX_SEARCHED_BYTES:
                self._searched_bytes = 0
                self._check_time()
            result = self._regex.search(searched.decode(errors="replace")) is not None
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[parts] = result
        return result
