"""Starts the agent in a program that `profbucket run` has put this directory in front of the path of.

Python imports a module of this name before the program begins. The one that would have been imported is, too.
"""

import importlib.util
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent


def _chain() -> None:
    """Run the sitecustomize that stands behind this one, if there is any."""
    behind = [folder for folder in sys.path if Path(folder).resolve() != _HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", behind)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def _start() -> None:
    """Start the agent; profbucket may be installed elsewhere, and is then not left on the program's path."""
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
    _start()
except Exception as error:  # noqa: BLE001 # the program is to run, profiled or not
    print(f"profbucket: the agent is not started: {error}", file=sys.stderr)
_chain()
