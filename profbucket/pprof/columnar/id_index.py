"""Resolve ids: within its profile, each mapping, function and location has an id by which others refer to it."""

import numpy as np
import numpy.typing as npt

from profbucket.pprof.columnar.arrays import Ints, Words, flatnonzero, to_offsets
from profbucket.pprof.columnar.generic_reader import NeedsProtobuf
from profbucket.pprof.columnar.varint_reader import MAX_SHORT


def check_rows(bad: Ints, profile: Ints) -> None:
    """Raise ``NeedsProtobuf`` if there are *bad* rows; *profile* says which profile each row is from."""
    if len(bad):
        raise NeedsProtobuf(np.unique(profile[bad]))


class IdIndex:
    """From profile and id to row, for all messages of one type in a batch.

    Most encoders count ids from 1 in the order of messages. Such dense ids need no lookup.
    """

    def __init__(self, count: int, profile: Ints, ids: Words) -> None:
        """Index messages of *count* profiles with these *ids*; raise ``NeedsProtobuf`` if one is 0 or repeated."""
        self._bounds = to_offsets(np.bincount(profile, minlength=count))
        check_rows(flatnonzero(ids == 0), profile)
        dense_ids = np.arange(1, len(ids) + 1)
        dense_ids -= self._bounds[profile]
        self._is_dense = bool((ids == dense_ids.view(np.uint64)).all())
        if not self._is_dense:
            self._known = np.unique(ids)
            keys = self._to_keys(np.searchsorted(self._known, ids), profile)
            self._order = np.argsort(keys, kind="stable")
            self._sorted_keys = keys[self._order]
            check_rows(self._order[1:][self._sorted_keys[1:] == self._sorted_keys[:-1]], profile)

    def find_rows(self, ids: Words, profile: Ints, count: Ints | None = None) -> Ints:
        """Return the rows of the messages with these *ids*. Shape: that of *ids*.

        ``profile[i]`` is the profile of ``ids[i]`` or, with *count*, of the next ``count[i]`` ids. Raise
        ``NeedsProtobuf`` for ids that are unknown.
        """
        if self._is_dense:
            first = self._bounds[profile]
            available = self._bounds[profile + 1] - first
            if count is not None:
                first, available = np.repeat(first, count), np.repeat(available, count)
            # The id 0 wraps around and is too large.
            rows = ids - np.uint64(1)
            is_bad = rows >= available.view(np.uint64)
            if is_bad.any():
                check_rows(flatnonzero(is_bad), profile if count is None else np.repeat(profile, count))
            first += rows.view(np.int64)
            return first
        if count is not None:
            profile = np.repeat(profile, count)
        if not len(ids):
            return np.empty(0, np.int64)
        known = np.minimum(np.searchsorted(self._known, ids), len(self._known) - 1)
        keys = self._to_keys(known, profile)
        at = np.minimum(np.searchsorted(self._sorted_keys, keys), len(self._sorted_keys) - 1)
        check_rows(flatnonzero((self._known[known] != ids) | (self._sorted_keys[at] != keys)), profile)
        return self._order[at]

    def find_known_rows(self, ids: Words, profile: Ints) -> Ints:
        """Return the rows of the messages with these *ids*, -1 for unknown ones. Shape: that of *ids*.

        ``profile[i]`` is the profile of ``ids[i]``.
        """
        if self._is_dense:
            first = self._bounds[profile]
            rows = ids - np.uint64(1)  # the id 0 wraps around and is too large
            is_known = rows < (self._bounds[profile + 1] - first).view(np.uint64)
            return np.where(is_known, first + rows.view(np.int64), -1)
        known = np.minimum(np.searchsorted(self._known, ids), len(self._known) - 1)
        keys = self._to_keys(known, profile)
        at = np.minimum(np.searchsorted(self._sorted_keys, keys), len(self._sorted_keys) - 1)
        is_known = (self._known[known] == ids) & (self._sorted_keys[at] == keys)
        return np.where(is_known, self._order[at], -1)

    def find_dense_rows(
        self, ids: npt.NDArray[np.uint16], bounds: Ints, profile: Ints, first: Ints, count: Ints
    ) -> Ints | None:
        """Return the rows of messages with these *ids*; those of profile i are ``ids[bounds[i]:bounds[i + 1]]``.

        Only the ``count[i]`` ids from ``first[i]`` on, of ``profile[i]``, are looked up; the rows of other
        elements mean nothing. *ids* is overwritten. Return ``None`` unless ids are dense and all of these known
        and at most ``MAX_SHORT``.
        """
        if not self._is_dense:
            return None
        ids -= np.uint16(1)  # the id 0 wraps around and is too large
        nonempty = flatnonzero(count)
        if len(nonempty):
            slices = np.stack((first[nonempty], first[nonempty] + count[nonempty]), axis=1).ravel()
            largest = np.maximum.reduceat(np.append(ids, np.uint16(0)), slices)[::2]
            available = np.diff(self._bounds)[profile[nonempty]]
            if (largest >= np.minimum(available, MAX_SHORT)).any():
                return None
        rows = ids.astype(np.int64)
        rows[bounds[0] :] += np.repeat(self._bounds[:-1], np.diff(bounds))
        return rows

    def _to_keys(self, known: Ints, profile: Ints) -> Ints:
        return known * (len(self._bounds) - 1) + profile
