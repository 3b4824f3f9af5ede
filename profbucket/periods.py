"""When profiles are compacted into blocks."""

from dataclasses import dataclass

from profbucket.errors import Invalid

MAX_PERIOD_SECONDS = 30 * 86400  # index lookups for blocks start or end this far outside of their range


@dataclass(frozen=True, slots=True)
class CompactionPolicy:
    """The schedule of compaction, in seconds. ``PROFBUCKET_BLOCK_SHORT`` sets ``short``, and so on.

    Periods are counted from 1970 on.
    """

    short: int = 3600  # period whose profiles become one block
    long: int = 86400  # period whose blocks become one block
    longest: int = 30 * 86400  # period whose blocks become one block again
    wait: int = 600  # how long after its end a short period is compacted
    grace: int = 3600  # how long a replaced object is kept for readers that already use it
    seconds: int = 480  # how long the function starts new work after it was called
    every: int = 3600  # how often `profbucket serve` compacts its storage; 0 is never

    def __post_init__(self) -> None:
        if (
            not 0 < self.short <= self.long <= self.longest <= MAX_PERIOD_SECONDS
            or self.long % self.short
            or self.longest % self.long
        ):
            raise Invalid(
                f"invalid block periods {self.short}, {self.long} and {self.longest}; each must be a multiple of"
                f" the one before, and at most {MAX_PERIOD_SECONDS} seconds",
                code="invalid_periods",
            )

    @property
    def levels(self) -> tuple[int, int, int]:
        """The periods, shortest first."""
        return self.short, self.long, self.longest
