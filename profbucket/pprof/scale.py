"""A profile times a number, as `pprof -base` takes a profile times -1 from another."""

from collections.abc import Mapping

from profbucket.limits import Limits
from profbucket.pprof.codec import decode, encode


def scale_profile(
    data: bytes, factors: Mapping[str, int], duration_nanos: int, limits: Limits = Limits()
) -> bytes:
    """The pprof *data* with the values of each sample type times its factor, which is 0 where none is given.

    Its duration is *duration_nanos*. Values wrap at 64 bits, as they do when they are added up. Raise ``Invalid``
    or ``TooLarge`` where *data* is no valid pprof.
    """
    message = decode(data, limits).message
    column = [
        factors.get(message.string_table[kind.type].decode(errors="replace"), 0) for kind in message.sample_type
    ]
    for sample in message.sample:
        sample.value[:] = [_wrapped(value * factor) for value, factor in zip(sample.value, column, strict=True)]
    message.duration_nanos = duration_nanos
    return encode(message)


def _wrapped(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63
