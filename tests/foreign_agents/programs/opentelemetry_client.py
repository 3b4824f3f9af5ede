"""A program with beacon-profiling: ``opentelemetry_client.py``, configured by its environment."""

import sys

from opentelemetry.sdk.extension.profiling import auto_start
from work import work  # type: ignore[import-not-found]

auto_start()
work(6.0)
sys.stdin.read()
