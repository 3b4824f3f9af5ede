"""Values as `go tool pprof` writes them: ``1.23s``, ``512.17kB``, ``7``; shares of a whole as ``12.34%``."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Family:
    """Units that can be converted into each other: how each is written, its other names, and its size."""

    units: tuple[tuple[str, tuple[str, ...], float], ...]
    otherwise: str  # for what is smaller than the smallest, and for a wish from another family

    def find(self, name: str) -> tuple[str, float] | None:
        name = name.lower()
        if len(name) > 2:
            name = name.removesuffix("s")
        return next(((written, size) for written, names, size in self.units if name in names), None)

    def best(self, value: float) -> tuple[str, float]:
        """The largest unit of which *value* is at least one."""
        sizes = [(size, written) for written, _, size in self.units if value / size >= 1]
        if not sizes:
            return next((written, size) for written, _, size in self.units if written == self.otherwise)
        size, written = max(sizes)
        return written, size


_BYTES = _Family(
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
_TIME = _Family(
    (
        ("ns", ("ns", "nanosecond"), 1.0),
        ("us", ("μs", "us", "microsecond"), 1e3),
        ("ms", ("ms", "millisecond"), 1e6),
        ("s", ("s", "sec", "second"), 1e9),
        ("hrs", ("hour", "hr"), 3600e9),
    ),
    "s",
)
_COMPUTE = _Family(  # Google's unit of computing
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
_FAMILIES = (_BYTES, _TIME, _COMPUTE)
_COUNTED = ("count", "sample", "unit", "auto")  # units that go without saying


def scale(value: int, unit: str, to: str = "auto") -> tuple[float, str]:
    """*value* in *unit* as a number in the unit *to*, and how that is written; ``auto`` chooses one that fits."""
    if value < 0:
        number, written = scale(-value, unit, to)
        return -number, written
    for family in _FAMILIES:
        if known := family.find(unit):
            size = value * known[1]
            written, factor = family.best(size) if to == "auto" else family.find(to) or family.best(0)
            return size / factor, written
    return float(value), "" if to in _COUNTED else to


def label(value: int, unit: str, to: str = "auto") -> str:
    """*value* in *unit*, written in the unit *to* with at most two decimals: ``0.52s``."""
    number, written = scale(value, unit, to)
    text = f"{number:.2f}".removesuffix(".00")
    return "0" if text in ("0", "-0") else text + written


def percentage(value: int, total: int) -> str:
    """The share of *value* in *total*, six characters wide, without its sign: two digits at least."""
    ratio = abs(value / total) * 100 if total else 0.0
    if 99.95 <= ratio <= 100.05:
        return "  100%"
    return f"{ratio:5.2f}%" if ratio >= 1 else f"{ratio:5.2g}%"
