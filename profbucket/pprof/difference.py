"""The difference of two profiles, as of ``go tool pprof -base``."""

from profbucket.limits import Limits
from profbucket.pprof.codec import encode, parse_valid
from profbucket.pprof.merge import Merger
from profbucket.pprof.numbers import wrap_int64


def subtract(data: bytes, base: bytes, limits: Limits = Limits()) -> bytes:
    """Return the pprof *data* minus *base*, both valid: the merge of *data* and the negated *base*.

    Raise ``Invalid`` (code ``sample_types_differ``) if they have no sample type in common, and ``TooLarge`` if one
    exceeds *limits*.
    """
    message = parse_valid(base, limits)
    for sample in message.sample:
        sample.value[:] = [wrap_int64(-value) for value in sample.value]
    merger = Merger(limits)
    merger.add(data, "the profile")
    merger.add(encode(message), "the base")
    return merger.result()
