"""What a merge with a limit picks."""

from collections.abc import Iterator
from itertools import pairwise
from weakref import WeakSet

from hypothesis import given
from hypothesis import strategies as st

from profbucket.labels import Labels
from profbucket.meta import Meta, ProfileType
from profbucket.query import spread


def metas(count: int) -> list[Meta]:
    return [Meta(str(i), "api", ProfileType.CPU, Labels(), i, 1) for i in range(count)]


@given(st.integers(0, 500), st.integers(1, 60))
def test_as_many_as_asked_for_are_picked_in_order_and_evenly(total: int, count: int) -> None:
    picked, found = spread(metas(total), count)
    assert found == total
    assert len(picked) == min(total, count)
    places = [meta.created_at for meta in picked]
    assert places == sorted(set(places))
    if total > count:
        ideal = total / count
        gaps = [later - earlier for earlier, later in pairwise([*places, total])]
        assert places[0] == 0
        assert max(gaps) <= 4 * ideal + 1


class Watched(Meta):
    """A meta that can be seen to be let go."""

    __slots__ = ("__weakref__",)


def test_picking_holds_no_more_than_twice_what_is_asked_for() -> None:
    alive: WeakSet[Meta] = WeakSet()
    held = []

    def stream() -> Iterator[Meta]:
        for i in range(10_000):
            one = Watched(str(i), "api", ProfileType.CPU, Labels(), i, 1)
            alive.add(one)
            held.append(len(alive))
            yield one

    spread(stream(), 10)
    assert max(held) <= 2 * 10 + 2
