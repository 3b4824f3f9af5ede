"""When profiles become blocks."""

from dataclasses import dataclass

from profbucket.errors import Invalid

MAX_PERIOD_SECONDS = 7 * 86400  # seconds of a period, at most: indexes look for blocks as long before a range


@dataclass(frozen=True, slots=True)
class CompactionPolicy:
    """All in seconds. The setting of ``short`` is ``PROFBUCKET_BLOCK_SHORT``, and so on.

    Those of a ``short`` period become a block once it has been over for ``wait``, and the blocks of a ``long`` one
    become one. An object that is not needed any more stays for ``grace``: who has begun to read it can go on. The
    function begins nothing that many ``seconds`` after it was called. ``profbucket serve`` compacts a directory
    ``every`` so many seconds, and never for 0.
    """

    short: int = 3600
    long: int = 86400
    wait: int = 600
    grace: int = 3600
    seconds: int = 480
    every: int = 3600

    def __post_init__(self) -> None:
        if not 0 < self.short <= self.long <= MAX_PERIOD_SECONDS or self.long % self.short:
            raise Invalid(
                f"block periods {self.short} and {self.long}: the long one is a multiple, a week at most"
            )
