"""The totals of stored profiles whose metadata do not hold them."""

import logging
import threading

from profbucket.errors import Invalid, TooLarge
from profbucket.limits import Limits
from profbucket.model.meta import Meta, Total
from profbucket.pprof import decode

_log = logging.getLogger(__name__)

# A decoded profile takes up to thirty times its size.
_DECODE_LOCK = threading.Lock()


def compute_totals(meta: Meta, data: bytes, limits: Limits) -> tuple[Total, ...]:
    """Return the totals of the profile *data*; none, and log it, if *limits* are too low for it now."""
    try:
        with _DECODE_LOCK:
            return decode(data, limits).totals
    except (Invalid, TooLarge) as error:
        _log.error("%s gets no totals in the index: %s", meta.id, error)
        return ()
