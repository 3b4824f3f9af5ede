"""The heap profile, from tracemalloc."""

import sys
import tracemalloc

from profbucket.agent.encoding import Encoder
from profbucket.agent.native import time_ns


def take_heap_profile() -> bytes | None:
    """Return the profile of the memory in use, or ``None`` if tracemalloc is not tracing.

    tracemalloc records files and lines but no functions, so that each line is shown as a function:
    ``shop.cart:42``.
    """
    if not tracemalloc.is_tracing():
        return None
    taken_at = time_ns()
    statistics = tracemalloc.take_snapshot().statistics("traceback")
    module_names = {
        file: name
        for name, module in list(sys.modules.items())
        if isinstance(file := getattr(module, "__file__", None), str)
    }
    encoder = Encoder((("inuse_objects", "count"), ("inuse_space", "bytes")), ("space", "bytes"), 1)
    for statistic in statistics:
        stack = []
        for frame in reversed(statistic.traceback):
            function = f"{module_names.get(frame.filename, frame.filename)}:{frame.lineno}"
            stack.append(encoder.location((function, frame.filename, 0, frame.lineno)))
        encoder.add(stack, (statistic.count, statistic.size), {})
    return encoder.encode(taken_at, 0) if len(encoder) else None
