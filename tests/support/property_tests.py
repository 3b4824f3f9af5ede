"""The number of examples of property tests: few in ``make check``, many in ``make soak``."""

import os

from hypothesis import HealthCheck, settings

_FACTOR = int(os.environ.get("EXAMPLES_FACTOR", "1"))


def examples(number: int) -> settings:
    """Return the settings of a test with slow examples, of which *number* are enough in ``make check``."""
    return settings(max_examples=number * _FACTOR, suppress_health_check=list(HealthCheck))
