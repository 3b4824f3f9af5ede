"""Multiply the values of a profile, as ``pprof -base`` adds a profile times -1."""

from collections.abc import Mapping

from profbucket.limits import Limits
from profbucket.pprof.codec import decode, encode
from profbucket.pprof.numbers import wrap_int64


def scale_profile(
    data: bytes, factors: Mapping[str, int], duration_nanos: int, limits: Limits = Limits()
) -> bytes:
    """Return the pprof *data* with the values of each sample type multiplied by its factor, by default 0.

    Its duration becomes *duration_nanos*. Values wrap at 64 bits, as in a merge. Raise ``Invalid`` or ``TooLarge``
    as ``decode`` does.
    """
    message = decode(data, limits).message
    names = [message.string_table[sample_type.type] for sample_type in message.sample_type]
    column_factors = [factors.get(name.decode(errors="replace"), 0) for name in names]
    for sample in message.sample:
        sample.value[:] = [
            wrap_int64(value * factor) for value, factor in zip(sample.value, column_factors, strict=True)
        ]
    message.duration_nanos = duration_nanos
    return encode(message)
