"""The agent in a program whose clocks are stopped, or run too fast."""

import pytest

from tests.support.agent.programs import python

_PATCHES = {
    "stopped": "lambda: 1000.0",
    "fast": "lambda: next(values)",
}
# All references to the clocks in loaded modules, as freezegun replaces them.
_PATCH = """
import itertools, sys, threading, time
values = itertools.count(1000.0, 3600.0)
fake = {fake}
originals = [time.monotonic, time.time, time.sleep, time.perf_counter]
integers = [time.monotonic_ns, time.time_ns]
event_wait = threading.Event.wait
def patch():
    real_sleep = time.sleep
    for module in list(sys.modules.values()):
        for name, value in list(getattr(module, "__dict__", {{}}).items()):
            if name in ("originals", "integers"):
                continue
            if any(value is original for original in originals):
                setattr(module, name, (lambda seconds: None) if value is originals[2] else fake)
            elif any(value is original for original in integers):
                setattr(module, name, lambda: int(fake() * 1e9))
    threading.Event.wait = lambda self, timeout=None: self.is_set()
    return real_sleep
"""


@pytest.mark.parametrize("patch", _PATCHES)
def test_the_agent_does_not_spin_if_clocks_are_patched(patch: str) -> None:
    """The process does nothing for three seconds, so that its CPU time is the agent's."""
    text = f"""
from profbucket import agent
{_PATCH.format(fake=_PATCHES[patch])}
agent.start("http://127.0.0.1:1", "shop", every=1.0, seconds=1.0)
real_sleep = patch()
begin = time.process_time()
real_sleep(3)
spent = time.process_time() - begin
agent.stop(0.5)
print(spent)
"""
    run = python(text)
    assert float(run.check().text) < 0.6
