"""Caps on what strangers send and ask for."""

from dataclasses import dataclass

from profbucket.errors import Invalid, TooLarge, TooMany

NAME_BYTES = 300  # names and units of a profile's sample types together; they are part of an object's metadata


@dataclass(frozen=True, slots=True)
class Limits:
    """Each cap, with its default. The setting of ``body_bytes`` is ``PROFBUCKET_MAX_BODY_BYTES``, and so on."""

    body_bytes: int = 32 << 20  # what a Cloud Function accepts
    inflight_bytes: int = (
        64 << 20
    )  # bodies of all posts that are being answered; a large one needs five times its size
    inflight_seconds: int = 10  # how long a post waits until it is one of them
    inflated_bytes: int = 256 << 20  # a profile, once inflated
    entries: int = 4_000_000  # samples, locations, strings, labels … in one profile; four packed numbers are one
    sample_types: int = 12  # they and their totals are part of an object's metadata
    labels: int = 64  # labels of a profile, and matchers in a request
    label_bytes: int = 1200  # all labels, percent-encoded: S3 holds 2 KB of metadata an object
    service_bytes: int = 200  # a service's name, escaped: file systems end a name at 255
    find: int = 10_000  # profiles in one answer of find
    merge: int = 10_000  # profiles in one merge
    merge_bytes: int = 1 << 30  # objects of one merge, as stored
    merge_seconds: int = 55  # pprof waits 65 for an answer to begin
    steps: int = 2000  # of time in one answer of the timeline
    groups: int = 100  # in one answer of the timeline; the smallest of more are one
    block_members: int = (
        2_000  # profiles that one block takes from the head: one transaction removes their entries
    )
    block: int = 20_000  # profiles in a block made of others
    block_bytes: int = 64 << 20  # of blocks that become one, as stored
    block_entries: int = 4_000_000  # stacks of all profiles of a block, each profile's for itself
    flame_nodes: int = 50_000  # frames of one flame graph
    answer_bytes: int = (
        8 << 20
    )  # beyond it a merge is answered by a link, where the bucket can; functions answer 10 MB

    @staticmethod
    def setting(name: str) -> str:
        """The environment variable that sets the cap *name*."""
        return f"PROFBUCKET_MAX_{name.upper()}"

    @staticmethod
    def code(name: str) -> str:
        """Return the error code of the limit *name*."""
        return f"max_{name}_exceeded"

    def invalid(self, name: str, what: str) -> Invalid:
        """The error for a name or a label over the cap *name*; *what* begins the sentence."""
        return Invalid(f"{what}, the cap is {getattr(self, name)} ({self.setting(name)})", code=self.code(name))

    def too_large(self, name: str, what: str) -> TooLarge:
        """The error for an input over the cap *name*; *what* begins the sentence: "the body has 40 bytes"."""
        return TooLarge(f"{what}, the cap is {getattr(self, name)} ({self.setting(name)})", code=self.code(name))

    def too_many(self, name: str, what: str) -> TooMany:
        """The error for a request over the cap *name*; *what* begins the sentence and says what to narrow."""
        return TooMany(f"{what}; the cap is {getattr(self, name)} ({self.setting(name)})", code=self.code(name))
