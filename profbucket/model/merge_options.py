"""Options of a merge, which do not select profiles."""

from dataclasses import dataclass

from profbucket.model.merge_format import MergeFormat
from profbucket.model.refinement import Refinement
from profbucket.model.sample_kinds import Aggregate


@dataclass(frozen=True, slots=True)
class MergeOptions:
    """The way in which the selected profiles are merged.

    With ``sample_type``, only its values, of the profiles that have it. With ``keep_labels``, with all labels of
    samples, as far as the profiles have not expired: blocks lack ``limits.dropped_labels``. With
    ``service_label``, all samples get a label ``service`` with the name of the profile's service. ``refinement``
    applies to the merge, and the result is in ``format``, where graphs have at most ``max_nodes`` nodes.
    """

    sample_type: str | None = None
    keep_labels: bool = False
    service_label: bool = False
    aggregate: Aggregate = Aggregate.SUM
    refinement: Refinement = Refinement()
    format: MergeFormat = MergeFormat.PPROF
    max_nodes: int | None = None
