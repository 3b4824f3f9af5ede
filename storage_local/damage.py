"""Damage to the index file."""

from typing import NoReturn

from profbucket.errors import Damaged, Invalid

# Raised by the conversion of a value that profbucket did not write.
PARSE_ERRORS = (ValueError, TypeError, AttributeError, OverflowError, RecursionError, Invalid)


def raise_damaged(reason: str) -> NoReturn:
    raise Damaged(
        f"the index is damaged: {reason}; run profbucket reindex, which moves it aside and makes a new one",
        code="damaged_index",
    )
