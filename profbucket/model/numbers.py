"""Whole numbers in settings, parameters and headers."""


def parse_count(text: str, least: int = 0, most: int = 10**9) -> int | None:
    """Return the number in *text*, ASCII digits only, or ``None`` unless it is from *least* to *most*."""
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        return None
    return value if least <= (value := int(text)) <= most else None
