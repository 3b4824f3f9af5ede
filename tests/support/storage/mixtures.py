"""Storages whose profiles are stored alone and in batches."""

from collections.abc import Sequence
from itertools import groupby

from profbucket.model.meta import Meta
from profbucket.storage.store import Storage, Writer

_CHUNK = 5

Profiles = Sequence[tuple[Meta, bytes]]


class MixedStorage(Storage):
    """Stores several profiles alone and in batches, in turn, and some in both ways."""

    def write_mixed(self, profiles: Profiles) -> None:
        """Store *profiles*: of each five, the first alone, the others in a batch, and some again."""
        by_service = groupby(sorted(profiles, key=lambda item: item[0].service), lambda item: item[0].service)
        for _, of_service in by_service:
            own = list(of_service)
            for number in range(0, len(own), _CHUNK):
                first, *others = own[number : number + _CHUNK]
                if number % 2:
                    self.write(*first)
                    self.write_batch(own[number : number + _CHUNK])
                    self.write(*own[number])
                else:
                    self.write_batch(others)
                    self.write_batch(others[::-1])
                    self.write(*first)
                    self.write(*own[min(number + 2, len(own) - 1)])


class ProfileList(Writer):
    """Keeps profiles in a list."""

    def __init__(self) -> None:
        self.profiles: list[tuple[Meta, bytes]] = []

    def write(self, meta: Meta, data: bytes) -> bool:
        self.profiles.append((meta, data))
        return True
