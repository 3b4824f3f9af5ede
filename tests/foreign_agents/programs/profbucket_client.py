"""A program with profbucket's agent: ``profbucket_client.py URL SERVICE KEY``."""

import sys

from work import work  # type: ignore[import-not-found]

from profbucket import agent

url, service, key = sys.argv[1:]
agent.start(url, service, key=key, labels={"version": "1.2.3"}, every=3.0, seconds=3.0)
work(4.0)
agent.stop(60.0)
sys.stdin.read()
