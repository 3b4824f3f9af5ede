"""A day of many services, compacted."""

from collections.abc import Sequence

from profbucket.ingest.collector import Collector
from profbucket.maintenance.compactor import Compactor
from profbucket.model.labels import Labels
from profbucket.model.profile_type import ProfileType
from profbucket.periods import CompactionPolicy
from profbucket.storage.store import Storage
from profbucket.times import DAY_SECONDS, SECOND

MIDNIGHT = 1_795_392_000 * SECOND  # 2026-11-23T00:00:00Z
_POLICY = CompactionPolicy(short=DAY_SECONDS)  # makes the same blocks in one step


def name_services(count: int) -> list[str]:
    """Return the names of *count* services of two teams."""
    return [f"team-{'ab'[number % 2]}-{number:03}" for number in range(count)]


def make_fleet(storage: Storage, services: int, profiles: int, contents: Sequence[bytes]) -> None:
    """Store a day of CPU profiles of this number of *services*, and compact it into a block each.

    The services' profiles are *contents*, which have no time, in turn.
    """
    collector = Collector(storage)
    for offset, service in enumerate(name_services(services)):
        for number in range(profiles):
            at = MIDNIGHT + number * DAY_SECONDS // profiles * SECOND
            data = contents[(offset + number) % len(contents)]
            labels = Labels.from_pairs([("version", str(number % 3))])
            collector.collect(service, ProfileType.CPU, labels, data, at)
    for _ in Compactor(storage, policy=_POLICY, clock=lambda: MIDNIGHT + 2 * DAY_SECONDS * SECOND).run():
        pass
