"""A program with ddtrace: ``datadog_client.py``, configured by its environment."""

import sys

import ddtrace.profiling.auto  # type: ignore[import-not-found] # noqa: F401 - starts the profiler
from work import work  # type: ignore[import-not-found]

work(6.0)
sys.stdin.read()
