"""The profiles that `merge` and `top` work on: local files, ids of stored profiles, or a query."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from profbucket.cli.options import add_collector_options, add_query_options, build_query, connect, read_config
from profbucket.cli.parser import Arguments, Parser, UsageError, integer
from profbucket.cli.terminal import read_file
from profbucket.errors import Invalid

if TYPE_CHECKING:
    from profbucket.model.refinement import Refinement


def add_source_options(parser: Parser, aggregate: str = "sum") -> None:
    """Declare the positional FILE_OR_ID, and the options of a query; *aggregate* is the default of --aggregate."""
    parser.add_positional("sources", metavar="[FILE_OR_ID...]", nargs="*")
    add_query_options(parser)
    parser.options.add_argument(
        "--limit",
        metavar="N",
        type=integer(1),
        help="Merge at most N profiles, evenly spread over the time range. [default: all]",
    )
    parser.options.add_argument(
        "--aggregate",
        choices=["sum", "average", "latest", "delta", "auto"],
        metavar="sum|average|latest|delta|auto",
        help="How the values of many profiles become one: auto averages memory in use and takes the increase of "
        f"counters, such as alloc_space. [default: {aggregate}]",
    )
    parser.options.add_argument("--delta", action="store_true", help="Short for --aggregate delta.")
    parser.options.set_defaults(default_aggregate=aggregate)
    add_collector_options(parser)


def add_base_options(parser: Parser) -> None:
    """Declare the options of what to compare with; :func:`read_base` reads them."""
    options = parser.options
    options.add_argument(
        "--base",
        metavar="FILE_OR_ID",
        action="append",
        default=[],
        help="Subtract this profile, as -base of pprof does. Repeatable.",
    )
    options.add_argument(
        "--base-from",
        dest="base_start",
        metavar="TIME",
        help="Subtract the profiles of another range, or with other labels. [default: --from]",
    )
    options.add_argument("--base-to", dest="base_end", metavar="TIME", help="End of that range. [default: --to]")
    options.add_argument(
        "--base-label",
        dest="base_conditions",
        metavar="K=V",
        action="append",
        help="Labels of the profiles to subtract, as --label. Repeatable. [default: those of --label]",
    )


def add_refinement_options(parser: Parser) -> None:
    """Declare --focus and the other options of pprof; :func:`read_refinement` reads them."""
    for name, metavar, help_ in (
        ("focus", "REGEX", "Only samples with a frame that matches."),
        ("ignore", "REGEX", "Only samples without a frame that matches."),
        ("hide", "REGEX", "Without the frames that match."),
        ("show", "REGEX", "Only the frames that match."),
        ("show-from", "REGEX", "Without the callers of the outermost frame that matches."),
        ("tagfocus", "[KEY=]REGEX|RANGE", "Only samples with labels that match; a range is 1kb:2mb or 10ms:."),
        ("tagignore", "[KEY=]REGEX|RANGE", "Only samples without labels that match."),
        ("tagroot", "KEY,...", "Add the values of these labels as the outermost frames."),
        ("tagleaf", "KEY,...", "Add the values of these labels as the innermost frames."),
    ):
        parser.options.add_argument(f"--{name}", metavar=metavar, default="", help=help_)


def read_refinement(arguments: Arguments) -> "Refinement":
    """Return the value of the options of :func:`add_refinement_options`."""
    from profbucket.model.refinement import Refinement

    # Arguments that are not UTF-8 hold surrogates, which no pattern can match.
    texts = {name: os.fsencode(getattr(arguments, name)).decode(errors="replace") for name in Refinement.names()}
    return Refinement(**texts)


def read_refined(arguments: Arguments) -> bytes:
    """Return what :func:`read_merged` returns, refined: by the collector if it merges, or else in this process."""
    refinement = read_refinement(arguments)
    if not refinement or not arguments.sources:
        return read_merged(arguments, refinement)
    limits = read_config().limits
    from profbucket.pprof.refine import refine
    from profbucket.pprof.report.refiner import Refiner

    return refine(read_merged(arguments), Refiner(refinement), limits)


def read_merged(arguments: Arguments, refinement: "Refinement | None" = None) -> bytes:
    """Return the merge of what the options of :func:`add_source_options` select, as pprof.

    *refinement* applies to the merge of a query.
    """
    if arguments.sources:
        if arguments.delta or arguments.aggregate:
            raise UsageError(
                "--delta and --aggregate need --service and --type; they do not work with FILEs or IDs"
            )
        if arguments.service:
            raise UsageError("FILEs or IDs and --service exclude each other")
        return _merge_sources(arguments, arguments.sources)
    if not (arguments.service and arguments.profile_type):
        raise UsageError("name FILEs or IDs, or set both --service and --type")
    query = replace(build_query(arguments), limit=arguments.limit)
    from profbucket.model.merge_options import MergeOptions
    from profbucket.model.sample_kinds import Aggregate

    if arguments.delta and arguments.aggregate:
        raise UsageError("--delta and --aggregate exclude each other")
    aggregate = Aggregate("delta" if arguments.delta else arguments.aggregate or arguments.default_aggregate)
    options = MergeOptions(aggregate=aggregate, refinement=refinement or MergeOptions().refinement)
    return connect(arguments).merge(query, options)


def read_base(arguments: Arguments) -> bytes | None:
    """Return the merge of what the options of :func:`add_base_options` select; ``None`` without such options."""
    changes = {
        "start": arguments.base_start,
        "end": arguments.base_end,
        "conditions": arguments.base_conditions,
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    if arguments.base and changes:
        raise UsageError("--base excludes --base-from, --base-to and --base-label")
    if changes and arguments.sources:
        raise UsageError("--base-from, --base-to and --base-label need --service and --type; use --base")
    if arguments.base:
        return _merge_sources(arguments, arguments.base)
    return read_merged(Arguments(**{**vars(arguments), **changes})) if changes else None


def _merge_sources(arguments: Arguments, sources: Sequence[str]) -> bytes:
    """Return the merge of local files, or of stored profiles by id."""
    if any(map(_is_profile_id, sources)):
        from profbucket.model.ids import ProfileId

        ids = [ProfileId.parse(source) for source in sources]
        client = connect(arguments)
        return client.merge_ids(ids) if len(ids) > 1 else client.read(ids[0])
    limits = read_config().limits
    from profbucket.pprof.small_merge.files import merge_small_files

    if data := merge_small_files(sources, limits):
        return data
    from profbucket.pprof.two_process_merge import merge_files

    if data := merge_files(sources, limits):
        return data
    from profbucket.pprof.merge import Merger

    merger = Merger(limits)
    for source in sources:
        merger.add(read_file(source), source)
    return merger.result()


def _is_profile_id(source: str) -> bool:
    """Return whether *source* is the id of a stored profile. An existing file of that name takes precedence."""
    if source.count("/") != 2 or os.path.exists(source):
        return False
    from profbucket.model.ids import ProfileId

    try:
        ProfileId.parse(source)
    except Invalid:
        return False
    return True
