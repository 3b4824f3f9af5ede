"""Format values as `go tool pprof` does: ``1.23s``, ``512.17kB``, ``7``; shares as ``12.34%``."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _UnitFamily:
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


_BYTES = _UnitFamily(
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
_TIME = _UnitFamily(
    (
        ("ns", ("ns", "nanosecond"), 1.0),
        ("us", ("μs", "us", "microsecond"), 1e3),
        ("ms", ("ms", "millisecond"), 1e6),
        ("s", ("s", "sec", "second"), 1e9),
        ("hrs", ("hour", "hr"), 3600e9),
    ),
    "s",
)
_COMPUTE = _UnitFamily(  # Google Compute Units
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
_OMITTED_UNITS = ("count", "sample", "unit", "auto")


def convert(value: int, unit: str, to: str = "auto") -> tuple[float, str]:
    """Return *value* in *unit* converted to *to*, and that unit's symbol; ``auto`` chooses a unit that fits."""
    if value < 0:
        number, symbol = convert(-value, unit, to)
        return -number, symbol
    for family in _FAMILIES:
        if known := family.find(unit):
            size = value * known[1]
            symbol, factor = family.find_best(size) if to == "auto" else family.find(to) or family.find_best(0)
            return size / factor, symbol
    return float(value), "" if to in _OMITTED_UNITS else to


def format_value(value: int, unit: str, to: str = "auto") -> str:
    """Return *value* in *unit* as text in the unit *to*, with at most two decimals: ``0.52s``."""
    number, symbol = convert(value, unit, to)
    text = f"{number:.2f}".removesuffix(".00")
    return "0" if text in ("0", "-0") else text + symbol


def format_percentage(value: int, total: int) -> str:
    """Return the share of *value* in *total* without its sign, six characters wide, with at least two digits."""
    percent = abs(value / total) * 100 if total else 0.0
    if 99.95 <= percent <= 100.05:
        return "  100%"
    return f"{percent:5.2f}%" if percent >= 1 else f"{percent:5.2g}%"
