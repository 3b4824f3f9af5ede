"""The sample types that profiles have in common, as ``go tool pprof`` finds them for the files that it merges."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from profbucket.pprof.columnar.arrays import Ints
from profbucket.pprof.columnar.batch import Batch, Signature
from profbucket.pprof.numbers import MAX_INT64, wrap_int64
from profbucket.pprof.units import find_factor

_Pair = tuple[int, ...]  # name and unit, as strings of the merge's table
_NO_PERIOD: _Pair = (0, 0)


@dataclass(frozen=True, slots=True)
class Projection:
    """The columns of one signature that are those of another, and what to multiply their values by."""

    columns: tuple[int, ...]
    factors: tuple[int, ...]
    period_factor: int

    def apply(self, values: Ints) -> Ints:
        """Return *values*, of shape (samples, sample types), in the columns and units of the other signature.

        They wrap at 64 bits, and so do factors: petagcu are 10**24 nanogcu.
        """
        projected = values[:, list(self.columns)]
        if set(self.factors) == {1}:
            return projected
        return projected * np.array([wrap_int64(factor) for factor in self.factors], np.int64)

    def scale_period(self, period: int) -> int:
        """Return *period* in the unit of the other signature, saturated: a merge has the largest period.

        If it wrapped, the largest of some periods would not be that of the merges of parts of them.
        """
        return max(min(period * self.period_factor, MAX_INT64), -MAX_INT64 - 1)


class CommonTypes:
    """Narrows signatures to what they have in common; *string* returns the string with an index.

    A sample type is common if all profiles have its name, and units that can be converted; the result has the
    finest unit, the first of equal ones. One that a profile has twice is common only to profiles with equal types,
    as values could be mixed up. The order is that of the first profile. With *sample_type*, all others are
    ignored. Period types that differ are dropped.
    """

    def __init__(self, string: Callable[[int], bytes], sample_type: bytes | None = None) -> None:
        self._string = string
        self._sample_type = sample_type

    def has_selected(self, signature: Signature) -> bool:
        """Return whether *signature* has the only sample type to merge, if there is one."""
        return self._sample_type is None or bool(self._select(signature)[0])

    def narrow(self, common: Signature | None, other: Signature) -> Signature | None:
        """Return what *common*, of the profiles so far, and *other* share; ``None`` if no sample type."""
        selected = self._select(other)
        if common is None or common == selected:
            return selected if selected[0] else None
        types, period_type = common
        others = _unique_by_name(selected[0])
        pairs = [
            finer
            for name, pair in _unique_by_name(types).items()
            if name in others and (finer := self._find_finer(pair, others[name]))
        ]
        finer_period = (
            self._find_finer(period_type, selected[1]) if period_type[0] == selected[1][0] else _NO_PERIOD
        )
        return (tuple(pairs), finer_period or _NO_PERIOD) if pairs else None

    def project(self, signature: Signature, common: Signature) -> Projection:
        """Return how the values of *signature* become those of *common*, which has been narrowed to it."""
        names = [pair[0] for pair in signature[0]]
        columns = [names.index(pair[0]) for pair in common[0]]
        factors = [
            self._find_factor(signature[0][column], pair) for column, pair in zip(columns, common[0], strict=True)
        ]
        has_period = signature[1] == common[1] or common[1] != _NO_PERIOD
        period_factor = self._find_factor(signature[1], common[1]) if has_period else 0
        return Projection(tuple(columns), tuple(factors), period_factor)

    def project_batch(
        self, batch: Batch, signatures: Sequence[Signature], index: Ints, common: Signature
    ) -> Batch:
        """Return *batch* with the values and periods of *common*; profile i has ``signatures[index[i]]``."""
        samples, header = batch.samples, batch.header
        values = np.zeros((len(samples.profile), len(common[0])), np.int64)
        period = np.zeros(len(index), np.int64)
        for i, signature in enumerate(signatures):
            projection = self.project(signature, common)
            rows = index[samples.profile] == i
            values[rows] = projection.apply(samples.values[rows])
            period[index == i] = list(map(projection.scale_period, header.period[index == i].tolist()))
        return batch._replace(header=header._replace(period=period), samples=samples._replace(values=values))

    def _select(self, signature: Signature) -> Signature:
        if self._sample_type is None:
            return signature
        pairs = [pair for pair in signature[0] if self._string(pair[0]) == self._sample_type]
        return tuple(pairs[:1]), signature[1]

    def _find_finer(self, pair: _Pair, other: _Pair) -> _Pair | None:
        """Return the one of two pairs with the finer unit; ``None`` if their units cannot be converted."""
        factor = 1.0 if pair == other else find_factor(self._unit(other), self._unit(pair))
        if factor is None:
            return None
        return other if factor < 1 else pair

    def _find_factor(self, pair: _Pair, to: _Pair) -> int:
        # The target has the finest unit, so that the factor is a whole number.
        return 1 if pair == to else round(find_factor(self._unit(pair), self._unit(to)) or 1)

    def _unit(self, pair: _Pair) -> str:
        return self._string(pair[1]).decode(errors="replace")


def _unique_by_name(pairs: Sequence[_Pair]) -> dict[int, _Pair]:
    """Return the pairs whose names occur once, by name, in their order."""
    counts = Counter(name for name, _ in pairs)
    return {pair[0]: pair for pair in pairs if counts[pair[0]] == 1}
