"""The labels of samples as pprof reads them: texts and numbers by key, with the unit of each key's numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from profbucket.pprof import profile_pb2

_BYTES_KEYS = (b"alignment", b"request")  # keys of numbers that are bytes if no unit is given, as in pprof


@dataclass(slots=True)
class SampleLabels:
    """The labels of one sample. ``units`` has an item for each of ``numbers``, or no list if none has a unit."""

    texts: dict[bytes, list[bytes]] = field(default_factory=dict)
    numbers: dict[bytes, list[int]] = field(default_factory=dict)
    units: dict[bytes, list[bytes]] = field(default_factory=dict)


def read_labels(sample: profile_pb2.Sample, strings: Sequence[bytes]) -> SampleLabels:
    """Return the labels of *sample*. One with neither text, number nor unit counts for nothing."""
    labels = SampleLabels()
    for label in sample.label:
        key = strings[label.key]
        if label.str:
            labels.texts.setdefault(key, []).append(strings[label.str])
        elif label.num or label.num_unit:
            numbers = labels.numbers.setdefault(key, [])
            if label.num_unit:
                units = labels.units.setdefault(key, [])
                units += [b""] * (len(numbers) - len(units))
                units.append(strings[label.num_unit])
            numbers.append(label.num)
    for key, known in labels.units.items():
        known.extend([b""] * (len(labels.numbers[key]) - len(known)))
    return labels


def find_units(message: profile_pb2.Profile, strings: Sequence[bytes]) -> Mapping[bytes, bytes]:
    """Return one unit for the numbers of each key, as pprof does: the first in the profile, or the key itself."""
    units: dict[bytes, bytes] = {}
    for sample in message.sample:
        for label in sample.label:
            if not label.str and (label.num or label.num_unit):
                key = strings[label.key]
                units[key] = units.get(key) or strings[label.num_unit]
    return {key: unit or (b"bytes" if key in _BYTES_KEYS else key) for key, unit in units.items()}
