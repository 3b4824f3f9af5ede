"""A program with pyroscope-io: ``pyroscope_client.py URL SERVICE KEY``."""

import sys

import pyroscope  # type: ignore[import-not-found]
from work import work  # type: ignore[import-not-found]

url, service, key = sys.argv[1:]
pyroscope.configure(
    application_name=service,
    server_address=url,
    basic_auth_username="x",
    basic_auth_password=key,
    tags={"version": "1.2.3"},
)
work(3.0)
pyroscope.shutdown()  # sends what there is, without waiting for it
sys.stdin.read()
