"""Limits on what clients may send and ask for."""

from dataclasses import dataclass, fields, replace

from profbucket.errors import Invalid, TooLarge, TooMany, Unavailable

# Keys of sample labels that tell each sample, span or thread apart, as Datadog's, Pyroscope's and OpenTelemetry's
# profilers write them. With them, hardly any two samples are equal, and merges and blocks do not shrink.
_DROPPED_LABELS = (
    "end_timestamp_ns",
    "local root span id",
    "os thread id",
    "profile_id",
    "span id",
    "span_id",
    "thread id",
    "thread native id",
    "thread_id",
    "trace id",
    "trace_id",
)


@dataclass(frozen=True, slots=True)
class Limits:
    """All limits with their defaults. ``PROFBUCKET_MAX_BODY_BYTES`` sets ``body_bytes``, and so on.

    ``dropped_labels`` are the keys of sample labels that merges and blocks leave out. ``sample_kinds`` are rules
    that precede the table of kinds: patterns of a profile type, sample type and unit, and the kind.
    """

    # One upload.
    body_bytes: int = 32 << 20  # what a Cloud Function accepts
    profiles: int = 1000  # in one upload that holds several
    batch_seconds: int = 30  # of converting, checking and storing an upload that holds several
    inflight_bytes: int = 64 << 20  # bodies of all uploads in progress; a large one needs five times its size
    inflight_seconds: int = 10  # how long an upload waits for room among them
    inflated_bytes: int = 256 << 20  # a profile after decompression
    entries: int = 4_000_000  # samples, locations, strings, labels … of one profile; four packed numbers are one
    sample_types: int = 64  # of one profile
    name_bytes: int = 4096  # names and units of a profile's sample types together
    labels: int = 64  # labels of a profile; label matchers of a request
    label_bytes: int = 1200  # all labels, percent-encoded: S3 allows 2 KB of metadata per object
    service_bytes: int = 200  # a service name, escaped: file systems allow 255 bytes per name

    # One request.
    services: int = 500  # that one request selects by a regular expression
    find: int = 10_000  # profiles in one response of find
    merge: int = 10_000  # profiles in one merge
    aggregate: int = 1_000_000  # profiles of one merge by average, latest or delta: each takes about 1 KB
    merge_bytes: int = 1 << 30  # objects of one merge, as stored
    merge_memory_bytes: int = 1 << 30  # of distinct stacks and strings, estimated; encoding takes as much again
    frame_rules: int = 100  # distinct pairs of drop_frames and keep_frames in one merge; each takes 180 KB
    merge_seconds: int = 55  # pprof times out after 65 seconds without a response
    steps: int = 2000  # time steps in one response of the timeline
    groups: int = 100  # groups in one response of the timeline; the smallest ones beyond it are combined
    timeline_numbers: int = 5_000_000  # groups x steps x sample types in one response of the timeline
    timeline_values: int = 2_000_000  # of averages and counters that a timeline keeps; each takes 150 to 300 bytes
    flame_nodes: int = 50_000  # frames of one flame graph
    frames: int = 10_000_000  # in all stacks of a report, with inlined functions; each takes 40 bytes or more
    export_bytes: int = 64 << 20  # of a merge in another format than pprof
    answer_bytes: int = (
        8 << 20
    )  # a larger merge is a redirect to the bucket, if it signs links; functions send 10 MB

    # One block.
    block_members: int = 2_000  # profiles of a block made from the head: one transaction removes their entries
    block: int = 50_000  # profiles of a block made from blocks
    block_bytes: int = 64 << 20  # blocks that become one, as stored
    block_entries: int = 4_000_000  # stacks of all profiles in a block, counted per profile
    block_memory_bytes: int = 256 << 20  # of distinct stacks and strings in a block, estimated

    # One table of samples.
    table_frames: int = 500_000_000  # in the stacks of all rows, with inlined functions; 6 million take a second

    dropped_labels: tuple[str, ...] = _DROPPED_LABELS
    sample_kinds: tuple[tuple[str, str, str, str], ...] = ()

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of the limits, which are numbers."""
        return [field.name for field in fields(cls) if field.type == "int" or field.type is int]

    def of_blocks(self) -> "Limits":
        """Return the limits on reading the parts of a block, which no setting changes: blocks stay readable.

        They are far above what a block of ``block_entries`` and ``block_memory_bytes`` takes; a block is read back
        within them before it is committed.
        """
        return replace(
            self,
            inflated_bytes=1 << 30,
            entries=1 << 28,
            sample_types=1 << 16,
            name_bytes=1 << 24,
            merge_memory_bytes=1 << 40,
        )

    @staticmethod
    def setting(name: str) -> str:
        """Return the environment variable that sets the limit *name*."""
        return f"PROFBUCKET_MAX_{name.upper()}"

    @staticmethod
    def code(name: str) -> str:
        """Return the error code of the limit *name*."""
        return f"max_{name}_exceeded"

    def invalid(self, name: str, problem: str) -> Invalid:
        """Return the error for a name or label over the limit *name*; *problem* starts the message."""
        return Invalid(self._message(name, problem), code=self.code(name))

    def too_large(self, name: str, problem: str) -> TooLarge:
        """Return the error for an input over the limit *name*; *problem* is as in "the body has 40 bytes"."""
        return TooLarge(self._message(name, problem), code=self.code(name))

    def too_many(self, name: str, problem: str) -> TooMany:
        """Return the error for a request over the limit *name*; *problem* also says what to narrow."""
        return TooMany(self._message(name, problem), code=self.code(name))

    def unavailable(self, name: str, problem: str) -> Unavailable:
        """Return the error for an input that was not processed within the limit *name*, and can be sent again."""
        return Unavailable(self._message(name, problem), code=self.code(name))

    def _message(self, name: str, problem: str) -> str:
        return f"{problem}; the limit is {getattr(self, name)} ({self.setting(name)})"
