"""Labels that are added to all samples of a profile."""

from collections.abc import Sequence

import numpy as np

from profbucket.pprof.columnar.arrays import flatnonzero
from profbucket.pprof.columnar.batch import SampleColumns
from profbucket.pprof.columnar.pending_profile import PendingProfile


def add_labels(samples: SampleColumns, profiles: Sequence[PendingProfile]) -> SampleColumns:
    """Return *samples* with the ``added_label`` of their *profiles*, in the place of own labels with its key."""
    if not any(profile.added_label for profile in profiles):
        return samples
    # No label has the key -1; some have an empty key, which is string 0.
    key, text = np.array([profile.added_label or (-1, 0) for profile in profiles], np.int64).T
    kept = flatnonzero(samples.label_key != key[samples.profile[samples.label_sample]])
    added = flatnonzero(key[samples.profile] >= 0)
    return samples._replace(
        label_sample=np.concatenate((samples.label_sample[kept], added)),
        label_key=np.concatenate((samples.label_key[kept], key[samples.profile[added]])),
        label_text=np.concatenate((samples.label_text[kept], text[samples.profile[added]])),
        label_number=np.concatenate((samples.label_number[kept], np.zeros(len(added), np.uint64))),
        label_unit=np.concatenate((samples.label_unit[kept], np.zeros(len(added), np.int64))),
    )
