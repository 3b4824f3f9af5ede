"""Frames made of sample labels, as by pprof's ``-tagroot`` and ``-tagleaf``."""

from collections.abc import Sequence

from profbucket.limits import Limits
from profbucket.pprof import profile_pb2
from profbucket.pprof.report.sample_labels import SampleLabels, read_labels
from profbucket.pprof.report.units import format_value

_FRAME_BYTES = 200  # of a function and its location, in memory


class TagFrames:
    """Adds a frame for each of the label keys *roots* and *leaves*, around the stack of each sample and inside it.

    A frame's name is the label's value, or its values joined by commas; its file is the key. The first of *roots*
    becomes the outermost frame, the last of *leaves* the innermost one. A sample without the label gets a frame
    without a name.

    Raise ``Invalid`` if there are more than ``limits.labels`` keys.
    """

    def __init__(self, roots: Sequence[str], leaves: Sequence[str], limits: Limits) -> None:
        if len(roots) + len(leaves) > limits.labels:
            raise limits.invalid("labels", f"tagroot and tagleaf have {len(roots) + len(leaves)} keys")
        # Innermost first, as in stacks.
        self._roots = [key.encode(errors="surrogateescape") for key in reversed(roots)]
        self._leaves = [key.encode(errors="surrogateescape") for key in reversed(leaves)]
        self._limits = limits
        self._added_bytes = 0

    def add_to(self, message: profile_pb2.Profile, strings: Sequence[bytes]) -> None:
        """Add the frames to the samples of *message*, whose string table is *strings*.

        Raise ``TooMany`` if the frames take more than ``limits.merge_memory_bytes``.
        """
        locations: dict[tuple[bytes, bytes], int] = {}
        next_location = max((location.id for location in message.location), default=0) + 1
        next_function = max((function.id for function in message.function), default=0) + 1
        text_indexes: dict[bytes, int] = {}

        def index_of(text: bytes) -> int:
            if text not in text_indexes:
                text_indexes[text] = len(message.string_table)
                message.string_table.append(text)
            return text_indexes[text]

        def location_of(labels: SampleLabels, key: bytes) -> int:
            frame = self._name(labels, key), key
            if frame not in locations:
                self._count(_FRAME_BYTES)
                number = len(locations)
                locations[frame] = next_location + number
                message.function.add(id=next_function + number, name=index_of(frame[0]), filename=index_of(key))
                message.location.add(id=next_location + number, line=[{"function_id": next_function + number}])
            return locations[frame]

        for sample in message.sample:
            labels = read_labels(sample, strings)
            leaves = [location_of(labels, key) for key in self._leaves]
            roots = [location_of(labels, key) for key in self._roots]
            self._count(8 * (len(leaves) + len(roots)))
            sample.location_id[:] = [*leaves, *sample.location_id, *roots]

    def _name(self, labels: SampleLabels, key: bytes) -> bytes:
        texts = labels.texts.get(key, [])
        numbers, units = labels.numbers.get(key, []), labels.units.get(key)
        # Many labels of one sample may share a long text.
        self._count(sum(map(len, texts)) if len(texts) > 1 else 0)
        formatted = [
            format_value(number, units[i].decode(errors="replace") if units else "").encode()
            for i, number in enumerate(numbers)
        ]
        return b",".join([*texts, *formatted])

    def _count(self, size: int) -> None:
        """Raise ``TooMany`` if the frames take too much memory with *size* more bytes."""
        self._added_bytes += size
        if self._added_bytes > self._limits.merge_memory_bytes:
            raise self._limits.too_many(
                "merge_memory_bytes", "the frames of tagroot and tagleaf take too much memory; choose other labels"
            )
