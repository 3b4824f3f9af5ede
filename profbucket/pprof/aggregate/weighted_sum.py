"""Sums of profiles times weights, rounded once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

import numpy as np

from profbucket.limits import Limits
from profbucket.pprof.columnar.arrays import Ints
from profbucket.pprof.merge import Merger
from profbucket.pprof.report.prune import drop_frames

_MAX_SCALED = 2**61  # below it, sums of remainders and twice their values fit 64 bits


@dataclass(frozen=True, slots=True)
class Part:
    """A pprof in a sum, raw, with the weight of each sample type by name (by default 0) and of its duration."""

    name: str  # in errors
    raw: bytes
    weights: Mapping[str, Fraction]
    duration_weight: Fraction


def add_up_parts(
    parts: Sequence[Part],
    limits: Limits,
    sample_type: str | None = None,
    duration_nanos: int | None = None,
    *,
    time_nanos: int = 0,
    order: Sequence[str] = (),
) -> Merger:
    """Return the merge of *parts*, each times its weights; with *sample_type*, only its values.

    Values are rounded once, half to even. With *duration_nanos*, the result has this duration; with *time_nanos*,
    this time. Its sample types are in the *order* of these names, as far as they are known. It has no comments of
    the parts.

    Raise ``Invalid`` as :meth:`Merger.add` does if the parts have no sample type in common.
    """
    whole = _merge(parts, limits, sample_type)
    if whole.has_mixed_frame_rules:
        parts = [Part(part.name, drop_frames(part.raw), part.weights, part.duration_weight) for part in parts]
        whole = _merge(parts, limits, sample_type)
    # All samples and the common sample types are known now: each part is added again, alone.
    content, names = whole.accumulator, whole.sample_types()
    count = len(content.samples)
    sums: dict[int, Ints] = {}  # of values times the numerators of their weights, by denominator
    duration = Fraction(0)
    for part in parts:
        content.values[:count] = 0
        content.duration_nanos = 0
        whole.add(part.raw, part.name)
        whole.flush()
        duration += content.duration_nanos * part.duration_weight
        for column, name in enumerate(names):
            if weight := part.weights.get(name):
                by_weight = sums.setdefault(weight.denominator, np.zeros((count, len(names)), np.int64))
                by_weight[:, column] += content.values[:count, column] * np.int64(weight.numerator)
    content.values[:count] = divide_and_round(sums, (count, len(names)))
    content.duration_nanos = round(duration) if duration_nanos is None else duration_nanos
    content.time_nanos = time_nanos or content.time_nanos
    content.order_sample_types(order)
    content.comments.clear()  # of some profiles only, depending on which ones were read, and from what
    return whole


def divide_and_round(sums: Mapping[int, Ints], shape: tuple[int, int]) -> Ints:
    """Return the total of *sums*, each divided by its key, rounded half to even. All have this *shape*."""
    total = np.zeros(shape, np.int64)
    remainders: list[tuple[int, Ints]] = []
    for denominator in sorted(sums):
        total += sums[denominator] // denominator
        if denominator > 1:
            remainders.append((denominator, sums[denominator] % denominator))
    if not remainders:
        return total
    common = lcm(*(denominator for denominator, _ in remainders))
    number_type = np.int64 if common * len(remainders) < _MAX_SCALED else object
    scaled = np.zeros(shape, number_type)
    for denominator, remainder in remainders:
        scaled += remainder.astype(number_type) * (common // denominator)
    total += (scaled // common).astype(np.int64)
    rest = 2 * (scaled % common)
    is_up = (rest > common) | ((rest == common) & (total & 1 == 1))
    total += is_up.astype(np.int64)
    return total


def _merge(parts: Sequence[Part], limits: Limits, sample_type: str | None) -> Merger:
    whole = Merger(limits.of_blocks(), sample_type=sample_type)
    for part in parts:
        whole.add(part.raw, part.name)
    for error in whole.take_errors():
        raise error
    return whole
