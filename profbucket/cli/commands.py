"""The command line: ``profbucket serve | push | find | get | merge | top | services | compact | …``."""

import atexit
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from profbucket.cli.options import (
    PARALLEL,
    TYPES,
    connect,
    connection,
    merged,
    output,
    pair,
    query_of,
    question,
    repaired,
    settings,
)
from profbucket.cli.options import sources as sources_option
from profbucket.errors import ProfbucketError
from profbucket.model.profile_type import ProfileType
from profbucket.times import FORMS, format_time, parse_time

# A command imports what it alone needs: a merge of files is to take no longer to start than to do.
if TYPE_CHECKING:
    from profbucket.maintenance.repair import Finding
    from profbucket.model.meta import Meta

LESS = 0.005  # functions with a smaller share of the whole are not shown, as pprof has it


def main() -> None:
    """The program ``profbucket``. Every error is a sentence on stderr; it exits with 1, for wrong usage with 2."""
    # Imports make many objects and hardly any garbage; looking for some after every 700 is a twentieth of a merge.
    gc.set_threshold(50_000)
    try:
        code = cli.main(prog_name="profbucket", standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort:  # Ctrl-C
        os._exit(130)  # without waiting for threads that wait for an answer
    except (ProfbucketError, OSError) as error:
        code = _fail(_sentence(error))
    _exit(code)


def _exit(code: int) -> NoReturn:
    """End the process, with all that is to be done at exit, but without taking the interpreter down.

    That takes as long as a small merge.
    """
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # who read it has gone
        code = code or 1
    os._exit(code)


_ELSEWHERE = ("key", "run", "scrape")  # commands in rooms of their own


class _Commands(click.Group):
    """The commands of this module, and those elsewhere, which are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        if cmd_name == "run":
            from profbucket.cli.run_command import run

            return run
        if cmd_name == "scrape":
            from profbucket.cli.scrape_command import scrape

            return scrape
        from profbucket.cli.key_commands import key

        return key


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """A continuous-profiling collector that lives in a bucket: pprof in, one merged pprof out."""


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=10100, show_default=True, type=click.IntRange(0, 65535), help="0 is any.")
@click.option(
    "--storage",
    metavar="URL",
    envvar="STORAGE_URL",
    show_envvar=True,
    default=lambda: Path("profbucket-data").absolute().as_uri(),
    show_default="profbucket-data, here",
    help="Where profiles are.",
)
def serve(host: str, port: int, storage: str) -> int:
    """Run a collector until Ctrl-C.

    Its settings are environment variables; the README lists them.
    """
    from profbucket.cli.server import Server

    return Server(host, port, storage).run(click.echo)


@cli.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--service", required=True, help="The service that the profiles are of.")
@click.option("--type", "kind", type=TYPES, required=True, help="What they measure.")
@click.option("--label", "labels", metavar="K=V", multiple=True, help="A label for all of them. Repeatable.")
@click.option(
    "--created-at",
    metavar="TIME",
    help=f"When they were taken, where they do not say: {FORMS}. [default: when the file was written]",
)
@connection
def push(
    *,
    files: Sequence[str],
    service: str,
    kind: str,
    labels: Sequence[str],
    created_at: str | None,
    url: str,
    key: str | None,
    storage: str | None,
) -> int:
    """Store profiles and print their ids.

    A file that is pushed again is stored once.
    """
    from profbucket.model.labels import Labels

    told_at = parse_time(created_at, time.time_ns()) if created_at else None
    profile_labels = Labels.from_pairs(map(pair, labels))
    client = connect(url, key, storage)

    def store(file: str) -> str:
        with click.open_file(file, "rb") as stream:
            data = stream.read()
        # It is told when it was taken even if nobody knows, so that it is the same profile when it is sent again.
        taken_at = told_at or (time.time_ns() if file == "-" else os.stat(file).st_mtime_ns)
        return client.collect(service, ProfileType(kind), profile_labels, data, taken_at).id

    failed = 0
    for file, outcome in _each(store, files):
        if isinstance(outcome, str):
            click.echo(outcome)
        else:
            failed += 1
            _fail(f"{file}: {outcome.strerror if isinstance(outcome, OSError) else outcome}")
    if failed and len(files) > 1:
        _fail(f"{failed} of {len(files)} files are not stored")
    return 1 if failed else 0


@cli.command()
@question
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(1), help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@connection
def find(*, limit: int, as_json: bool, url: str, key: str | None, storage: str | None, **asked: Any) -> None:
    """List profiles, oldest first."""
    query = query_of(**asked)
    client = connect(url, key, storage)
    left = limit
    while True:
        page = client.find(replace(query, limit=left))
        lines = map(_json, page.profiles) if as_json else _table(page.profiles, header=query.after is None)
        for line in lines:
            click.echo(line)
        left -= len(page.profiles)
        if page.next is None or left <= 0:
            break
        query = replace(query, after=page.profiles[-1].position)
    if page.next is not None:
        click.echo("profbucket: there are more; --limit says how many are listed", err=True)


@cli.command()
@click.argument("profile_id", metavar="ID")
@output
@connection
def get(*, profile_id: str, output: str, url: str, key: str | None, storage: str | None) -> None:
    """Fetch a profile as it was stored."""
    from profbucket.model.ids import ProfileId

    _write(connect(url, key, storage).read(ProfileId.parse(profile_id)), output)


@cli.command()
@sources_option
@output
def merge(*, output: str, **asked: Any) -> None:
    """Make one profile of many.

    Of local FILEs, as `go tool pprof -proto` does; of stored profiles by their IDs; or of those that --service,
    --type and the other options select.
    """
    _write(merged(**asked), output)


@cli.command()
@sources_option
@click.option("-n", "--count", default=0, type=click.IntRange(0), help="Only so many functions.")
@click.option("--sort", type=click.Choice(["flat", "cum"]), default="flat", show_default=True)
@click.option("--sample-type", metavar="NAME", default="", help="As in alloc_space. [default: the profile's]")
@click.option("--all", "everything", is_flag=True, help=f"Also functions with less than {LESS:.1%} of the whole.")
def top(*, count: int, sort: str, sample_type: str, everything: bool, **asked: Any) -> None:
    """Show where the time went, or the memory, as `go tool pprof -top` does.

    Of local FILEs, of stored profiles by their IDs, or of those that --service, --type and the other options
    select.
    """
    from profbucket.pprof import decode
    from profbucket.pprof.report.top import build_top_report

    profile = decode(merged(**asked), settings().limits)
    fraction = 0.0 if everything else LESS
    for line in build_top_report(
        profile, sample_type, by_cum=sort == "cum", count=count, fraction=fraction
    ).lines():
        click.echo(_plain(line))


@cli.command()
@connection
def services(*, url: str, key: str | None, storage: str | None) -> None:
    """List the services that have profiles."""
    for service in connect(url, key, storage).services():
        click.echo(service)


@cli.command()
@click.option("--seconds", type=click.IntRange(1), help="Begin nothing after so long. [default: do it all]")
@click.option("--service", default=None, help="Only this service. [default: all]")
@click.option(
    "--storage", metavar="URL", envvar="STORAGE_URL", show_envvar=True, required=True, help="The storage."
)
def compact(*, storage: str, service: str | None, seconds: int | None) -> None:
    """Make blocks of profiles, so that merges over long ranges are quick.

    Of each hour that is over one, of each day one of those. It can be cut off, run again, and run twice at once.
    Made for cron: run it once an hour.
    """
    from profbucket.maintenance.compactor import Action, Compactor
    from profbucket.storage.open import open_storage

    config = settings(storage)
    compactor = Compactor(open_storage(storage), config.limits, config.periods)
    steps = dict.fromkeys(Action, 0)
    for step in compactor.run(seconds, service):
        steps[step.deed] += 1
        click.echo(f"{step.deed} {step.profiles or ''} {step.key}".replace("  ", " "))
    left = "" if compactor.complete else "; the time was up, run it again"
    click.echo(
        f"{steps[Action.COMPACTED]} blocks made of profiles, {steps[Action.MERGED]} made of blocks,"
        f" {steps[Action.DELETED]} objects deleted{left}",
        err=True,
    )


@cli.command()
@repaired
def reindex(*, storage: str, service: str | None, since: str) -> None:
    """Make the index say what the bucket says.

    Entries are made for profiles that have none and removed where the profile is gone. What is right is only read:
    cut off, run it again. A collector may go on writing meanwhile.
    """
    from profbucket.maintenance import repair
    from profbucket.storage.open import open_storage

    _repaired("reindexing", repair.reindex(open_storage(storage), service, _since(since)))


@cli.command()
@repaired
def fsck(*, storage: str, service: str | None, since: str) -> int:
    """Say what reindex would mend, and change nothing. Exits with 1 where there is something."""
    from profbucket.maintenance import repair
    from profbucket.storage.open import open_storage

    return 1 if _repaired("checking", repair.fsck(open_storage(storage), service, _since(since))) else 0


def _since(text: str) -> int:
    return parse_time(text, time.time_ns()) if text else 0


def _repaired(doing: str, findings: "Iterator[Finding]") -> int:
    """Show *findings* as they come, then how many there were of each kind; return how many were to be mended."""
    from profbucket.maintenance.repair import State

    counts = dict.fromkeys(State, 0)
    shown_now: Callable[[Finding | None], str] = lambda one: one.key if one else ""  # noqa: E731
    with click.progressbar(findings, label=doing, show_pos=True, item_show_func=shown_now, file=sys.stderr) as bar:
        for one in bar:
            counts[one.state] += 1
            if one.state is not State.GOOD:
                click.echo(f"{one.state} {one.key}")
    click.echo(
        f"{sum(counts.values())} profiles: {counts[State.GOOD]} were right,"
        f" {counts[State.MISSING]} had no entry, {counts[State.STALE]} entries had no object,"
        f" {counts[State.DIFFERENT]} differed, {counts[State.TWICE]} are in a block besides,"
        f" {counts[State.FOREIGN]} are no profiles and were left alone",
        err=True,
    )
    return sum(counts[state] for state in (State.MISSING, State.STALE, State.DIFFERENT, State.TWICE))


def _fail(sentence: str) -> int:
    click.echo(f"profbucket: {_plain(sentence)}", err=True)
    return 1


def _sentence(error: Exception) -> str:
    if not isinstance(error, OSError):
        return str(error)
    return f"{os.fsdecode(error.filename)}: {error.strerror}" if error.filename else error.strerror or str(error)


def _plain(text: str) -> str:
    """*text* without control characters: names in profiles come from strangers, and this may be a terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _each(
    call: Callable[[str], str], files: Sequence[str]
) -> Iterator[tuple[str, str | ProfbucketError | OSError]]:
    """What *call* makes of each of *files*, several at once but in their order: its result, or its error."""
    from concurrent.futures import ThreadPoolExecutor, as_completed

    pool = ThreadPoolExecutor(PARALLEL)
    try:
        calls = [pool.submit(call, file) for file in files]
        if len(files) > 1 and sys.stderr.isatty():
            with click.progressbar(as_completed(calls), len(files), "pushing", file=sys.stderr) as progress:
                for _ in progress:
                    pass
        for file, one in zip(files, calls, strict=True):
            try:
                yield file, one.result()
            except (ProfbucketError, OSError) as error:
                yield file, error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _json(meta: "Meta") -> str:
    import json

    from profbucket.model.meta import meta_to_json

    return json.dumps(meta_to_json(meta))


def _table(profiles: "Sequence[Meta]", *, header: bool) -> Iterator[str]:
    rows = [("CREATED", "TYPE", "BYTES", "LABELS", "ID")] if header else []
    for meta in profiles:
        labels = _plain(",".join(f"{key}={value}" for key, value in meta.labels)) or "-"
        rows.append((format_time(meta.created_at), str(meta.type), str(meta.size), labels, meta.id))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for created, kind, size, labels, profile_id in rows:
        left = f"{created:<{widths[0]}}  {kind:<{widths[1]}}  {size:>{widths[2]}}"
        yield f"{left}  {labels:<{widths[3]}}  {profile_id}"


def _write(data: bytes, file: str) -> None:
    with click.open_file(file, "wb") as stream:
        stream.write(data)
