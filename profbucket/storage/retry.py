"""Retry what compaction interrupted."""

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import ParamSpec, TypeVar

from profbucket.errors import Unavailable
from profbucket.storage.lookup import BlockReplaced

_P = ParamSpec("_P")
_T = TypeVar("_T")

_ATTEMPTS = 5


def retry_on_compaction(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Decorate *function* to be called again if compaction replaces a block that it reads.

    The decorated function raises ``Unavailable`` when the last attempt fails.
    """

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        for _ in range(_ATTEMPTS):
            with suppress(BlockReplaced):
                return function(*args, **kwargs)
        raise Unavailable(
            "compaction kept replacing the blocks being read; retry the request", code="compaction_in_progress"
        )

    return call
