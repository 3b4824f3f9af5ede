"""Increases of counters from profile to profile, where several processes share a series."""

import random

from profbucket.query.increases import find_increases


def test_processes_with_interleaved_profiles_are_told_apart() -> None:
    """Counters of 64 processes that started with different values, in another order each minute."""
    order = random.Random(1)
    counters = {number: [1000 * number, 1000 * (64 - number) ** 2] for number in range(64)}
    profiles, expected = [], []
    for minute in range(5):
        for number in order.sample(sorted(counters), len(counters)):
            increase = [number % 7, number % 5] if minute else [0, 0]
            counters[number] = [value + more for value, more in zip(counters[number], increase, strict=True)]
            profiles.append(counters[number])
            expected.append(increase)
    assert find_increases(profiles) == expected
