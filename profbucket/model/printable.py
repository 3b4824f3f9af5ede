"""Text from profiles and collectors, made safe for terminals and logs."""

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def to_printable(text: str) -> str:
    """Replace the characters of *text* that a terminal may obey or not show.

    These are control and format characters, such as escape sequences and bidi overrides, line separators, spaces
    other than the ASCII one, surrogates and unassigned characters.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _REPLACEMENT for char in text)
