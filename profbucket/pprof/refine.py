"""Refine a pprof as `go tool pprof -proto` does with its options ``-focus``, ``-hide`` and so on."""

from profbucket.limits import Limits
from profbucket.pprof.codec import parse_valid
from profbucket.pprof.merge import merge
from profbucket.pprof.report.refiner import Refiner


def refine(data: bytes, refiner: Refiner, limits: Limits = Limits()) -> bytes:
    """Return the valid pprof *data*, refined and compact, as gzip. Its last comment lists the options.

    Samples that have become equal are added up. Raise ``TooLarge`` if *data* exceeds one of *limits*, and as
    :meth:`Refiner.apply` does.
    """
    message = parse_valid(data, limits)
    refiner.apply(message, limits)
    message.comment.append(len(message.string_table))
    message.string_table.append(f"refined by {refiner.refinement.describe()}".encode())
    return merge([message.SerializeToString()], limits=limits.of_blocks())
