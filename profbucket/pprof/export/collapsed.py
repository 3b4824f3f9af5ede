"""Collapsed stacks, one a line: ``main;work;sum 12``, from the outermost function to the innermost."""

from collections import Counter

import numpy as np

from profbucket.limits import Limits
from profbucket.model.printable import to_printable
from profbucket.pprof import profile_pb2
from profbucket.pprof.export.size import check_size
from profbucket.pprof.numbers import wrap_int64
from profbucket.pprof.report.stacks import Functions, collect_stacks

_NO_STACK = "<no stack>"
_NUMBER_BYTES = 21  # a blank, a number of 64 bits, and the end of the line


def to_collapsed(message: profile_pb2.Profile, column: int, limits: Limits = Limits()) -> bytes:
    """Return the distinct stacks of *message* with their values in sample type *column*, sorted.

    In names, characters that are not printable are replaced, and semicolons become colons.

    Raise ``TooMany`` if the stacks have more than ``limits.frames`` frames, or the text more than
    ``limits.export_bytes``.
    """
    functions = Functions()
    stacks, values = collect_stacks(message, column, functions, limits)
    names = [to_printable(name).replace(";", ":").encode() for name in functions.names]
    sizes = np.fromiter(map(len, names), np.int64, len(names)) + 1
    check_size(int(sizes[stacks.frames].sum()) + _NUMBER_BYTES * len(stacks), limits)
    sums: Counter[bytes] = Counter()
    ends = stacks.ends.tolist()
    for number, value in enumerate(values.tolist()):
        frames = stacks.frames[ends[number] : ends[number + 1]]
        sums[b";".join([names[frame] for frame in frames.tolist()]) or _NO_STACK.encode()] += value
    lines = (b"%s %d\n" % (stack, wrap_int64(sums[stack])) for stack in sorted(sums) if sums[stack])
    return b"".join(lines)
