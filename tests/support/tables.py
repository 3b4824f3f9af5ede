"""Tables of Markdown documents that are made from figures."""

from collections.abc import Iterable, Sequence


def format_table(head: str, rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table with the line *head*."""
    return [head, "|---" * (head.count("|") - 1) + "|", *(f"| {' | '.join(row)} |" for row in rows)]


def replace_tables(text: str, tables: Iterable[Sequence[str]]) -> str:
    """Return *text* with each table in place of the one with the same head; raise ``ValueError`` without one."""
    for table in tables:
        begin = text.index(table[0] + "\n")
        end = text.index("\n\n", begin)
        text = text[:begin] + "\n".join(table) + text[end:]
    return text
