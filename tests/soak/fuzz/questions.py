"""Questions to the collector about one service."""

from collections.abc import Iterator, Mapping, Sequence
from random import Random

SINCE = "2024-01-01T00:00:00"

Question = tuple[str, str, Mapping[str, object]]  # a name, a path, parameters


def list_questions(random: Random, service: str, types: Sequence[str], ids: Sequence[str]) -> Iterator[Question]:
    """Yield what is asked about *service*, each question with a name of its own; its first word is the route."""
    profiles = "/api/0/profiles"
    everything: dict[str, object] = {"service": service, "from": 0}
    yield "find", profiles, everything
    yield "find label", profiles, {**everything, "v": "1"}
    yield "find page", profiles, {**everything, "limit": 2}
    yield "labels", "/api/0/labels", {"service": service}
    yield "series", "/api/0/series", {**everything, "from": SINCE, "to": "2024-12-31T00:00:00", "group_by": "v"}
    for profile_type in types:
        typed = {**everything, "type": profile_type}
        merge = f"{profiles}/merge"
        part = {"from": "2024-06-01T00:30:00", "to": "2024-06-01T02:29:59"}
        yield f"merge {profile_type}", merge, typed
        yield f"merge {profile_type} by label", merge, {**typed, "v": random.randrange(3)}
        yield f"merge {profile_type} by labels", merge, {**typed, "labels": "v!=0"}
        yield f"merge {profile_type} by expression", merge, {**typed, "labels": "v=~[01]"}
        yield f"merge {profile_type} by time", merge, {**typed, **part}
        yield f"merge {profile_type} by time and label", merge, {**typed, **part, "v": 1}
        yield f"merge {profile_type} limit", merge, {**typed, "limit": 3}
        yield f"refined {profile_type}", merge, {**typed, "focus": "[a-m]", "hide": "e$", "tagroot": "k,l"}
        yield f"tags {profile_type}", "/api/0/tags", typed
        yield f"delta {profile_type}", merge, {**typed, "delta": 1}
        yield f"flame {profile_type}", f"{profiles}/flame", typed
        yield f"flame {profile_type} by time", f"{profiles}/flame", {**typed, **part, "max_nodes": 50}
        yield f"flame {profile_type} compared", f"{profiles}/flame", {**typed, "base_labels": "v=1", "v": 2}
        yield f"find {profile_type}", profiles, typed
        yield f"series {profile_type}", "/api/0/series", {**typed, "step": "1d", "from": SINCE}
    for profile_id in ids[:16]:
        yield f"get {profile_id}", f"{profiles}/{profile_id}", {}
    if len(ids) > 1:
        first, *_, last = sorted(ids)
        yield "ids", f"{profiles}/{first}+{last}", {}


def route_of(name: str) -> str:
    """Return the first word of the name of a question."""
    return name.partition(" ")[0]
