"""Folding of a profile's small stacks, so that a large profile becomes a small one with the same totals."""

from collections import Counter
from collections.abc import Iterator
from heapq import nlargest

from profbucket.pprof import profile_pb2
from profbucket.pprof.numbers import wrap_int64

_OTHER = b"other"
_ROOT = 0

_Nodes = dict[tuple[int, int], int]  # numbers of the nodes of the call tree, by their callers and locations


def fold_samples(message: profile_pb2.Profile, max_nodes: int) -> None:
    """Cut the stacks of *message* at the calls that weigh less than the *max_nodes*-th heaviest.

    The rest of a stack becomes one location with the function "other". A call weighs what all samples that contain
    it have in the first sample type. Samples that become equal are added up.
    """
    nodes: _Nodes = {}
    weights: Counter[int] = Counter()
    for sample in message.sample:
        for node in _walk(sample, nodes):
            weights[node] += abs(sample.value[0])
    if len(weights) <= max_nodes:
        return
    least = nlargest(max_nodes, weights.values())[-1]
    other = _add_location(message)
    folded: dict[tuple[object, ...], profile_pb2.Sample] = {}
    for sample in message.sample:
        depth = sum(weights[node] >= least for node in _walk(sample, nodes))
        if depth < len(sample.location_id):
            sample.location_id[:] = [other, *sample.location_id[len(sample.location_id) - depth :]]
        labels = tuple((label.key, label.str, label.num, label.num_unit) for label in sample.label)
        same = folded.setdefault((tuple(sample.location_id), labels), sample)
        if same is not sample:
            same.value[:] = [wrap_int64(a + b) for a, b in zip(same.value, sample.value, strict=True)]
    samples = list(folded.values())
    del message.sample[:]
    message.sample.extend(samples)


def _walk(sample: profile_pb2.Sample, nodes: _Nodes) -> Iterator[int]:
    """Yield the nodes of a sample's stack, from its root; new ones are added to *nodes*."""
    node = _ROOT
    for location_id in reversed(sample.location_id):
        node = nodes.setdefault((node, location_id), len(nodes) + 1)
        yield node


def _add_location(message: profile_pb2.Profile) -> int:
    """Add a location with the function "other" and return its id."""
    message.string_table.append(_OTHER)
    function_id = max((function.id for function in message.function), default=0) + 1
    message.function.add(id=function_id, name=len(message.string_table) - 1)
    location_id = max((location.id for location in message.location), default=0) + 1
    message.location.add(id=location_id).line.add(function_id=function_id)
    return location_id
