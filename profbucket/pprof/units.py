"""The units that pprof knows and converts (google/pprof, ``internal/measurement``)."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UnitFamily:
    """Units that can be converted into each other: symbol, names and size of each."""

    units: tuple[tuple[str, tuple[str, ...], float], ...]
    default: str  # for values below the smallest unit, and for conversions to a unit of another family

    def find(self, name: str) -> tuple[str, float] | None:
        """Return symbol and size of the unit *name*, singular or plural."""
        name = name.lower()
        if len(name) > 2:
            name = name.removesuffix("s")
        return next(((symbol, size) for symbol, names, size in self.units if name in names), None)

    def find_best(self, value: float) -> tuple[str, float]:
        """Return symbol and size of the largest unit of which *value* is at least one."""
        sizes = [(size, symbol) for symbol, _, size in self.units if value / size >= 1]
        if not sizes:
            return next((symbol, size) for symbol, _, size in self.units if symbol == self.default)
        size, symbol = max(sizes)
        return symbol, size


_BYTES = UnitFamily(
    (
        ("B", ("b", "byte"), 1.0),
        ("kB", ("kb", "kbyte", "kilobyte"), 2.0**10),
        ("MB", ("mb", "mbyte", "megabyte"), 2.0**20),
        ("GB", ("gb", "gbyte", "gigabyte"), 2.0**30),
        ("TB", ("tb", "tbyte", "terabyte"), 2.0**40),
        ("PB", ("pb", "pbyte", "petabyte"), 2.0**50),
    ),
    "B",
)
_TIME = UnitFamily(
    (
        ("ns", ("ns", "nanosecond"), 1.0),
        ("us", ("μs", "us", "microsecond"), 1e3),
        ("ms", ("ms", "millisecond"), 1e6),
        ("s", ("s", "sec", "second"), 1e9),
        ("hrs", ("hour", "hr"), 3600e9),
    ),
    "s",
)
_COMPUTE = UnitFamily(  # Google Compute Units
    tuple(
        (f"{letter}*GCU" if letter else "GCU", (f"{prefix}gcu",), size)
        for letter, prefix, size in (
            ("n", "nano", 1e-9),
            ("u", "micro", 1e-6),
            ("m", "milli", 1e-3),
            ("", "", 1.0),
            ("k", "kilo", 1e3),
            ("M", "mega", 1e6),
            ("G", "giga", 1e9),
            ("T", "tera", 1e12),
            ("P", "peta", 1e15),
        )
    ),
    "GCU",
)
FAMILIES = (_BYTES, _TIME, _COMPUTE)


def find_factor(unit: str, to: str) -> float | None:
    """Return how many of *to* are one *unit*; ``None`` if they cannot be converted into each other."""
    if unit == to:
        return 1.0
    for family in FAMILIES:
        if (known := family.find(unit)) and (target := family.find(to)):
            return known[1] / target[1]
    return None


def find_finest(units: Sequence[str]) -> str:
    """Return the smallest of *units* that can be converted into each other, the first of equal ones."""
    finest = units[0]
    for unit in units[1:]:
        if (find_factor(unit, finest) or 1) < 1:
            finest = unit
    return finest
