"""When profiles are compacted into blocks."""

from dataclasses import dataclass

from profbucket.errors import Invalid

MAX_PERIOD_SECONDS = 7 * 86400  # index lookups for blocks start this long before their range


@dataclass(frozen=True, slots=True)
class CompactionPolicy:
    """The schedule of compaction, in seconds. ``PROFBUCKET_BLOCK_SHORT`` sets ``short``, and so on."""

    short: int = 3600  # period whose profiles become one block
    long: int = 86400  # period whose blocks become one block
    wait: int = 600  # how long after its end a short period is compacted
    grace: int = 3600  # how long a replaced object is kept for readers that already use it
    seconds: int = 480  # how long the function starts new work after it was called
    every: int = 3600  # how often `profbucket serve` compacts a directory; 0 is never

    def __post_init__(self) -> None:
        if not 0 < self.short <= self.long <= MAX_PERIOD_SECONDS or self.long % self.short:
            raise Invalid(
                f"invalid block periods {self.short} and {self.long}; the long one must be a multiple of the "
                f"short one, and at most {MAX_PERIOD_SECONDS} seconds",
                code="invalid_periods",
            )
