"""The hook by which `profbucket run` starts the agent in a program: this directory comes first in PYTHONPATH.

Python imports the module ``sitecustomize`` at startup. This one also runs the next one on the path, if there is
one.
"""

import importlib.util
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent


def _run_next_sitecustomize() -> None:
    path = [folder for folder in sys.path if Path(folder).resolve() != _HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", path)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def _start_agent() -> None:
    """Start the agent. Add the folder of profbucket, which may be another environment, to the path meanwhile."""
    root = str(_HERE.parents[2])
    sys.path.append(root)
    try:
        from profbucket import agent
        from profbucket.agent.settings import Settings
    finally:
        sys.path.remove(root)
    settings = Settings.from_env()
    if settings is not None:
        agent.start_with(settings)


try:
    _start_agent()
except Exception as error:  # noqa: BLE001 # the program must run, profiled or not
    print(f"profbucket: the agent is not started: {error}", file=sys.stderr)
_run_next_sitecustomize()
