"""The sets of sample types that the sources of a merge have, to say which of them the merge lacks, and why."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

_MAX_SETS = 100  # sources with other sets are only counted
_MAX_NAMES = 8  # in a comment
_MAX_NAME_CHARACTERS = 60


@dataclass(slots=True)
class _Sources:
    count: int
    first: str


class SampleTypeSets:
    """Counts sources, which are profiles or blocks, by their sample types."""

    def __init__(self) -> None:
        self._sources: dict[tuple[str, ...], _Sources] = {}
        self._count = 0

    def add(self, sample_types: Sequence[str], source: str, count: int = 1) -> None:
        """Add *count* sources with these *sample_types*; *source* is the name of the first."""
        self._count += count
        names = tuple(sample_types)
        if known := self._sources.get(names):
            known.count += count
        elif len(self._sources) < _MAX_SETS:
            self._sources[names] = _Sources(count, source)

    def sample_types(self) -> list[str]:
        """Return the sample types that any source has."""
        return list(dict.fromkeys(name for names in self._sources for name in names))

    def describe(self, merged: Collection[str]) -> str:
        """Return the end of a comment that says which sample types are not *merged*, and which sources lack them.

        Return ``""`` if none are missing.
        """
        missing = [name for name in self.sample_types() if name not in merged]
        texts = [self._describe_missing(name) for name in missing[:_MAX_NAMES]]
        if len(missing) > _MAX_NAMES:
            texts.append(f"{len(missing) - _MAX_NAMES} more")
        return f"; left out: {', '.join(texts)}" if texts else ""

    def describe_lacking(self, sample_type: str) -> str:
        """Return the end of a comment that says which sources lack the merged *sample_type*, or ``""``."""
        lacking = self._lacking(sample_type)
        if not lacking:
            return ""
        count = sum(sources.count for sources in lacking)
        which = f"{count} of {self._count} objects without {_shorten(sample_type)}"
        return f"; left out: {which}, such as {lacking[0].first}"

    def _describe_missing(self, name: str) -> str:
        lacking = self._lacking(name)
        if not lacking:
            return f"{_shorten(name)} (units differ)"
        count = sum(sources.count for sources in lacking)
        return f"{_shorten(name)} (missing in {count} of {self._count} objects, such as {lacking[0].first})"

    def _lacking(self, name: str) -> list[_Sources]:
        return [sources for names, sources in self._sources.items() if name not in names]


def _shorten(name: str) -> str:
    return name if len(name) <= _MAX_NAME_CHARACTERS else f"{name[:_MAX_NAME_CHARACTERS]}…"
