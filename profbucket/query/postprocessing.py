"""The steps after a merge: refinement, and conversion to another format."""

from collections.abc import Callable
from dataclasses import replace

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.model.merge_format import MergeFormat
from profbucket.model.merge_options import MergeOptions
from profbucket.query.merging import MergeGuard, MergeResult

DEFAULT_NODES = 5000  # of a flame graph, if the request does not say
DEFAULT_DOT_NODES = 80  # of a call graph, as in pprof
MAX_DOT_NODES = 500  # Graphviz draws no more in a reasonable time

Step = Callable[[MergeResult], MergeResult]


def prepare_postprocessing(options: MergeOptions, limits: Limits, guard: MergeGuard) -> Step:
    """Return the function that refines a merge and converts it, as *options* say.

    Raise ``Invalid`` or ``TooMany`` if they make no sense: before anything is read.
    """
    refine, convert = _prepare_refinement(options, limits, guard), _prepare_conversion(options, limits, guard)
    return lambda result: convert(refine(result))


def resolve_max_nodes(max_nodes: int | None, limits: Limits) -> int:
    """Return how many nodes a flame graph may have, two at least: the root, and one for all others.

    Raise ``TooMany`` if *max_nodes* exceeds the limit.
    """
    if max_nodes is None:
        return min(DEFAULT_NODES, limits.flame_nodes)
    if max_nodes > limits.flame_nodes:
        raise limits.too_many("flame_nodes", f"max_nodes={max_nodes} asks for too many frames")
    return max(max_nodes, 2)


def _prepare_refinement(options: MergeOptions, limits: Limits, guard: MergeGuard) -> Step:
    if not options.refinement:
        return lambda result: result
    # Imports numpy and RE2, which the function that only stores profiles does not need.
    from profbucket.pprof.refine import refine
    from profbucket.pprof.report.refiner import Refiner

    refiner = Refiner(options.refinement, guard.check_time)
    return lambda result: replace(result, data=refine(result.data, refiner, limits))


def _prepare_conversion(options: MergeOptions, limits: Limits, guard: MergeGuard) -> Step:
    if options.format is MergeFormat.PPROF:
        return lambda result: result
    from profbucket.pprof.export.convert import convert

    if options.format is MergeFormat.DOT:
        max_nodes = _resolve_dot_nodes(options.max_nodes)
    else:
        max_nodes = resolve_max_nodes(options.max_nodes, limits)

    def convert_result(result: MergeResult) -> MergeResult:
        data = convert(result.data, options.format, max_nodes, limits, guard.check_time)
        filename = result.filename.removesuffix(MergeFormat.PPROF.suffix) + options.format.suffix
        return replace(result, data=data, filename=filename)

    return convert_result


def _resolve_dot_nodes(max_nodes: int | None) -> int:
    """Return how many functions a call graph may have; raise ``Invalid`` if *max_nodes* is too large."""
    if max_nodes is not None and max_nodes > MAX_DOT_NODES:
        raise Invalid(
            f"max_nodes={max_nodes} asks for too many functions; format=dot has at most {MAX_DOT_NODES}",
            code="invalid_parameter",
        )
    return max_nodes or DEFAULT_DOT_NODES
