"""The limits of the server on connections and time."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Limits on what a client may take. Times are in seconds.

    A head must arrive within ``head_seconds``. A body may take ``body_seconds``, and one second more for each
    ``body_bytes_per_second`` of it. A response must leave at ``send_bytes`` per ``send_seconds``; all responses
    that are being sent take at most ``unsent_bytes`` of memory, or are a single one. A connection
    without a request is kept for ``idle_seconds``. ``drain_seconds`` is the time to finish requests at the end.
    """

    threads: int = 16
    connections: int = 800  # many systems allow a process 1,024 open files
    head_bytes: int = 64 << 10
    head_seconds: float = 10.0
    body_seconds: float = 10.0
    body_bytes_per_second: int = 8 << 10
    send_bytes: int = 256 << 10
    send_seconds: float = 30.0
    unsent_bytes: int = 128 << 20
    idle_seconds: float = 75.0
    linger_seconds: float = 2.0
    drain_seconds: float = 8.0
