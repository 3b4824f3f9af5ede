"""The examples of property tests: few and always the same in ``make check``, many and random in ``make soak``.

``make check`` decides about a change, hence it must not fail for a fault that was there before.
"""

import os

from hypothesis import HealthCheck, settings

_FACTOR = int(os.environ.get("EXAMPLES_FACTOR", "1"))
_USUAL = 40


def examples(number: int) -> settings:
    """Return the settings of a test with slow examples, of which *number* are enough in ``make check``."""
    return settings(max_examples=number * _FACTOR, suppress_health_check=list(HealthCheck))


def load_usual_settings() -> None:
    """Set the number of examples of tests that have no settings of their own, and no deadline for any test."""
    # On a shared machine the duration of an example is meaningless.
    suppressed = [HealthCheck.too_slow]
    settings.register_profile(
        "usual",
        max_examples=_USUAL * _FACTOR,
        deadline=None,
        derandomize=_FACTOR == 1,
        suppress_health_check=suppressed,
    )
    settings.load_profile("usual")
