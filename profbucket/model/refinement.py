"""pprof's refinements of a profile: which samples and frames to keep."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

from profbucket.model.printable import to_printable

_SHOWN_CHARACTERS = 80  # of one refinement in a comment


@dataclass(frozen=True, slots=True)
class Refinement:
    """The options of `go tool pprof` of the same names, as texts; an empty one does nothing.

    ``tagroot`` and ``tagleaf`` are keys of sample labels, separated by commas. ``tagfocus`` and ``tagignore`` are
    regular expressions, separated by commas, or a range of numbers, either with ``key=`` in front. The others are
    regular expressions (RE2).
    """

    focus: str = ""
    ignore: str = ""
    hide: str = ""
    show: str = ""
    show_from: str = ""
    tagfocus: str = ""
    tagignore: str = ""
    tagroot: str = ""
    tagleaf: str = ""

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of the options."""
        return [field.name for field in fields(cls)]

    def __bool__(self) -> bool:
        """Return whether any option is set."""
        return any(value for _, value in self._items())

    def filters(self) -> list[str]:
        """Return the options that are set and leave something out, as ``focus=work``."""
        return [f"{name}={value}" for name, value in self._items() if value and name not in ("tagroot", "tagleaf")]

    def describe(self) -> str:
        """Return the options that are set as one printable line: ``focus=work hide=^runtime``."""
        texts = (f"{name}={value}" for name, value in self._items() if value)
        shown = (text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…" for text in texts)
        return to_printable(" ".join(shown))

    def _items(self) -> Iterator[tuple[str, str]]:
        return ((name, getattr(self, name)) for name in self.names())
