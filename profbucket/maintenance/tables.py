"""Export the samples of a lane's finished days as tables, after their blocks have been committed.

A failure is logged, and the task that made the blocks is done again later. It keeps nothing else from being done.
"""

from collections.abc import Iterator

from profbucket.errors import missing_extra
from profbucket.maintenance.lane import Action, Lane, Step, finished_until
from profbucket.times import DAY, DAY_SECONDS, LATEST, format_time

_RECENT = 2 * DAY  # longer than from one daily visit to the next


def export_days(lane: Lane, start: int, end: int) -> Iterator[Step]:
    """Export the days from *start* to *end* that have finished and whose tables lack profiles."""
    end = min(end, finished_until(lane.policy, DAY_SECONDS, lane.clock()) - 1)
    try:
        from profbucket.samples.day import list_days
        from profbucket.samples.export import Exporter, Outcome
    except ModuleNotFoundError:
        lane.fail_export(missing_extra("PROFBUCKET_SAMPLES=1", "sql"), "samples")
        return
    exporter = Exporter(lane.storage)
    try:
        for begin in list_days(lane.storage, lane.service, lane.type, start, end):
            try:
                export = exporter.export_day(lane.service, lane.type, begin)
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not keep the rest from being done
                lane.fail_export(error, format_time(begin)[:10])
            else:
                if export.outcome is Outcome.EXPORTED:
                    yield Step(Action.EXPORTED, export.object_key, export.profiles)
    except Exception as error:  # noqa: BLE001 - as above
        lane.fail_export(error, "the days")


def export_recent_days(lane: Lane, start: int) -> Iterator[Step]:
    """Export likewise the days from *start* on of which blocks were written recently.

    Their task may have been lost: a collector may be killed between a profile's entry and its task.
    """
    recent = lane.clock() - _RECENT
    blocks = [
        block for block in lane.index.blocks(lane.service, lane.type, start, LATEST) if block.written_at >= recent
    ]
    if blocks:
        yield from export_days(lane, min(block.first for block in blocks), max(block.last for block in blocks))
