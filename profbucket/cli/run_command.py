"""``profbucket run``: a program under the agent, as it is."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from profbucket.cli.options import pair
from profbucket.model.labels import Labels

_SITE = Path(__file__).parents[1] / "agent" / "site"


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("command", metavar="-- COMMAND...", nargs=-1, required=True)
@click.option("--service", required=True, help="The service that it is.")
@click.option("--label", "labels", metavar="K=V", multiple=True, help="A label of its profiles. Repeatable.")
@click.option(
    "--url", metavar="URL", envvar="PROFBUCKET_URL", show_envvar=True, required=True, help="The collector."
)
@click.option(
    "--key",
    metavar="KEY",
    envvar="PROFBUCKET_KEY",
    show_envvar=True,
    help="The key that it asks for, if any. Better in the environment: others see a command line.",
)
@click.option("--every", default=60.0, show_default=True, help="Seconds from one profile to the next.")
@click.option("--seconds", default=10.0, show_default=True, help="Of them, those that it takes.")
def run(
    *,
    command: Sequence[str],
    service: str,
    labels: Sequence[str],
    url: str,
    key: str | None,
    every: float,
    seconds: float,
) -> NoReturn:
    """Run a Python program under the agent, without touching it.

    The program takes the place of this one. So do the Python programs that it starts, unless they leave PYTHONPATH
    aside (python -I, -E, -S).
    """
    from profbucket.agent.settings import KEY_VARIABLE, SETTINGS_VARIABLE, Settings
    from profbucket.config import copy_environment

    pairs = dict(Labels.from_pairs(map(pair, labels)))
    told = {"url": url, "service": service, "labels": pairs, "every": every, "seconds": seconds}
    Settings.create(key=key or "", **told)  # type: ignore[arg-type] # what is wrong is said now
    environ = copy_environment(**{SETTINGS_VARIABLE: json.dumps(told)}, **({KEY_VARIABLE: key} if key else {}))
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_SITE), environ.get("PYTHONPATH"))))
    os.execvpe(command[0], list(command), environ)  # noqa: S606 # the program that was asked for
