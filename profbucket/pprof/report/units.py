"""Format values as `go tool pprof` does: ``1.23s``, ``512.17kB``, ``7``; shares as ``12.34%``."""

from profbucket.pprof.units import FAMILIES

_MIN_INT64 = -(2**63)
_OMITTED_UNITS = ("count", "sample", "unit", "minimum", "auto")


def convert(value: int, unit: str, to: str = "auto") -> tuple[float, str]:
    """Return *value* in *unit* converted to *to*, and that unit's symbol; ``auto`` chooses a unit that fits."""
    if _MIN_INT64 < value < 0:  # pprof cannot negate that one either, and shows it in the smallest unit
        number, symbol = convert(-value, unit, to)
        return -number, symbol
    for family in FAMILIES:
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
