"""Billed operations, counted by the proxies in front of the emulators."""

from dataclasses import astuple, dataclass
from typing import Self

from tests.support.proxies import TrafficCounter


@dataclass(frozen=True, slots=True)
class Operations:
    """Numbers of billed operations. Deleting an object is free."""

    class_a: float = 0  # of Cloud Storage: puts, pages of lists
    class_b: float = 0  # of Cloud Storage: reads of objects and of their metadata
    reads: float = 0  # of Firestore documents
    writes: float = 0
    deletes: float = 0

    @classmethod
    def from_traffic(cls, traffic: TrafficCounter) -> Self:
        """Return the operations in *traffic*. A write whose document exists counts, too."""
        classes = [_storage_class(request) for request in traffic.requests if not request.startswith("/")]
        return cls(
            classes.count("A"),
            classes.count("B"),
            traffic.document_reads,
            traffic.document_writes,
            traffic.document_deletes,
        )

    def __add__(self, other: Self) -> Self:
        return type(self)(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __mul__(self, factor: float) -> Self:
        return type(self)(*(value * factor for value in astuple(self)))

    def __sub__(self, other: Self) -> Self:
        return self + other * -1


def _storage_class(request: str) -> str:
    """Return the class of a request to Cloud Storage: ``A``, ``B``, or ``""`` if it is free."""
    method, _, target = request.partition(" ")
    path = target.partition("?")[0]
    if method == "DELETE":
        return ""
    return "B" if method == "GET" and not path.endswith("/o") else "A"
