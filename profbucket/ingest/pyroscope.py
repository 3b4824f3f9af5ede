"""Pyroscope's names: profile types by sample type, services, labels and times."""

import re
from collections.abc import Iterable, Sequence

from profbucket.errors import Invalid
from profbucket.model.labels import Labels
from profbucket.model.profile_type import ProfileType

_LOCK, _EXCEPTIONS = ProfileType("lock"), ProfileType("exceptions")

# Profile types by the beginning of a sample type's name. Go's memory profile has values of two kinds: inuse_… is
# what is allocated at one moment, and alloc_… what was allocated since the previous profile.
_BY_PREFIX = {
    "wall": ProfileType.WALL,
    "cpu": ProfileType.CPU,
    "inuse_": ProfileType.HEAP,
    "alloc_": ProfileType.ALLOC,
    "mutex_": ProfileType.MUTEX,
    "block_": ProfileType.BLOCK,
    "lock_": _LOCK,
    "goroutine": ProfileType.GOROUTINE,
    "exception": _EXCEPTIONS,
}
_BY_NAME = {"objects": ProfileType.HEAP, "space": ProfileType.HEAP}  # of clients before the prefixes

# Profile types by the label __name__ of a series, if it is not the type's name.
_BY_SERIES_NAME = {
    "process_cpu": ProfileType.CPU,
    "goroutines": ProfileType.GOROUTINE,
    "exception": _EXCEPTIONS,
}
_MEMORY = "memory"

_INVALID_CHARACTERS = re.compile(r"[^a-z0-9_-]+")
_LABELS_BEGIN, _LABELS_END = "{", "}"


def choose_types(sample_types: Sequence[str]) -> list[ProfileType]:
    """Return the profile type of each of *sample_types*, by their names.

    Those without a type of their own, such as ``samples``, belong to the first of the others, or to wall time.
    """
    profile_types = [_find_type(name) for name in sample_types]
    known = [profile_type for profile_type in profile_types if profile_type]
    rest = ProfileType.WALL if ProfileType.WALL in known else known[0] if known else ProfileType.OTHER
    return [profile_type or rest for profile_type in profile_types]


def choose_types_of_series(name: str, sample_types: Sequence[str]) -> list[ProfileType]:
    """Return the profile type of each of *sample_types* in a series with the label ``__name__=``\\ *name*."""
    if name == _MEMORY:
        return choose_types(sample_types)
    return [_BY_SERIES_NAME.get(name) or name_type(name)] * len(sample_types)


def name_type(text: str) -> ProfileType:
    """Return the profile type with the name that is most like *text*; raise ``Invalid`` without a letter in it."""
    return ProfileType.parse(_INVALID_CHARACTERS.sub("_", text.lower()).lstrip("0123456789_-")[:63])


def parse_name(text: str) -> tuple[str, Labels]:
    """Read ``service{key=value,…}``, where nothing is quoted; raise ``Invalid``."""
    name, begin, rest = text.strip().partition(_LABELS_BEGIN)
    if begin and not rest.endswith(_LABELS_END):
        raise Invalid(f"name={text[:80]!r}: the labels do not end with '}}'", code="invalid_label")
    pairs = []
    for item in filter(None, map(str.strip, rest.removesuffix(_LABELS_END).split(","))):
        key, equals, value = item.partition("=")
        if not equals:
            raise Invalid(f"label without '=': {item[:80]!r}; write name=app{{key=value}}", code="invalid_label")
        pairs.append((key.strip(), value.strip()))
    return make_labels(name.strip(), pairs)


def make_labels(service: str, pairs: Iterable[tuple[str, str]]) -> tuple[str, Labels]:
    """Return the service and the labels of a profile, given the labels that were sent; raise ``Invalid``.

    The label ``service_name`` is the service, and *service* becomes a label. Labels that begin with two
    underscores are Pyroscope's own. ``__session_id__``, one of them, would make a series of each process.
    """
    pairs = [(key, value) for key, value in pairs if not key.startswith("__")]
    services = [value for key, value in pairs if key == "service_name" and value]
    if not services:
        return service, Labels.from_pairs(pair for pair in pairs if pair[0] != "service_name")
    if service:
        pairs.append(("app_name", service))
    return services[0], Labels.from_pairs(pair for pair in pairs if pair[0] != "service_name")


def _find_type(name: str) -> ProfileType | None:
    by_prefix = (profile_type for prefix, profile_type in _BY_PREFIX.items() if name.startswith(prefix))
    return _BY_NAME.get(name) or next(by_prefix, None)
