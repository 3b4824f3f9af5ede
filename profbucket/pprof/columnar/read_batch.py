"""Profiles to batches."""

import numpy as np

from profbucket.errors import ProfbucketError
from profbucket.limits import Limits
from profbucket.pprof.columnar.batch import Batch
from profbucket.pprof.columnar.generic_reader import Irregular
from profbucket.pprof.columnar.pending import Pending, Strings


def read(
    profiles: list[Pending], strings: Strings, limits: Limits, errors: list[ProfbucketError]
) -> tuple[Batch | None, list[Pending]]:
    """Read *profiles* as one batch, and return it with those that are in it; ``None`` if that is none.

    What is invalid is left out and has its error appended to *errors*.
    """
    while profiles:
        try:
            batch = Batch(
                [p.stream for p in profiles],
                [p.places for p in profiles],
                [p.samples for p in profiles],
                [p.strings for p in profiles],
                np.fromiter((p.checked for p in profiles), bool, len(profiles)),
            )
        except Irregular as irregular:
            odd = set(irregular.streams.tolist())
            profiles = [p for i, p in enumerate(profiles) if i not in odd or _is_valid(p, strings, limits, errors)]
        else:
            return batch, profiles
    return None, []


def _is_valid(profile: Pending, strings: Strings, limits: Limits, errors: list[ProfbucketError]) -> bool:
    """Split *profile* plainly, which tells."""
    from profbucket.pprof.columnar.split import split_plainly

    try:
        split_plainly(profile, strings, limits)
    except ProfbucketError as error:
        errors.append(error)
        return False
    return True
