"""The limit on the size of an export."""

from profbucket.limits import Limits


def check_size(size: int, limits: Limits) -> None:
    """Raise ``TooMany`` if an export would have more than ``limits.export_bytes``."""
    if size > limits.export_bytes:
        raise limits.too_many(
            "export_bytes",
            f"in this format, the stacks take {size} bytes; choose another format or a shorter range, or keep less"
            " with focus= or show=",
        )
