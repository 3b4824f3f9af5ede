"""What is allocated, as tracemalloc has recorded it."""

import sys
import time
import tracemalloc

from profbucket.agent.encoding import Encoder


def heap() -> bytes | None:
    """The profile of what is held now, or ``None`` where tracemalloc does not trace.

    tracemalloc knows files and lines and no functions: a line stands for its function, as in ``shop.cart:42``.
    """
    if not tracemalloc.is_tracing():
        return None
    taken = time.time_ns()
    found = tracemalloc.take_snapshot().statistics("traceback")
    modules = {
        file: name
        for name, module in list(sys.modules.items())
        if isinstance(file := getattr(module, "__file__", None), str)
    }
    encoder = Encoder((("inuse_objects", "count"), ("inuse_space", "bytes")), ("space", "bytes"), 1)
    for one in found:
        stack = [
            encoder.location(
                (f"{modules.get(frame.filename, frame.filename)}:{frame.lineno}", frame.filename, 0, frame.lineno)
            )
            for frame in reversed(one.traceback)
        ]
        encoder.add(stack, (one.count, one.size), {})
    return encoder.encode(taken, 0) if len(encoder) else None
