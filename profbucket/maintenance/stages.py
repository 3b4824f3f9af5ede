"""The stages of a task of compaction, one after the other."""

from collections.abc import Iterator
from contextlib import suppress

from profbucket.maintenance.head import compact_head
from profbucket.maintenance.lane import JointCompaction, Lane, Step, finished_until
from profbucket.maintenance.merging import merge_blocks
from profbucket.maintenance.tables import export_days, export_recent_days
from profbucket.model.tasks import Task
from profbucket.times import LATEST, SECOND


def list_joint_stages(compaction: JointCompaction, task: Task) -> Iterator[Iterator[Step]]:
    """Yield the stages of *task*, of a short period, for all lanes together."""
    yield compact_head(compaction, task.begin, task.last)
    for block in compaction.index.blocks(compaction.service, None, task.begin, task.last):
        compaction.lane_of(block.type)  # an earlier run may have committed the block and then been killed
    for lane in compaction.lanes:
        lane.add_merge(compaction.policy.short, task.begin)


def list_stages(lane: Lane, task: Task | None, *, export_samples: bool) -> Iterator[Iterator[Step]]:
    """Yield the stages of *task* for *lane*, or without a task, of everything.

    With *export_samples*, the samples of days become tables.
    """
    policy = lane.policy
    if task and task.period:
        if task.period <= policy.short or task.period < policy.long:
            yield compact_head(lane, task.begin, task.last)
            # Also if nothing was compacted now: an earlier run may have committed blocks and then been killed.
            lane.add_merge(policy.short, task.begin)
        else:
            yield merge_blocks(lane, [task.period], task.begin, task.last)
            lane.add_merge(task.period, task.begin)
            if not lane.has_replaced:  # else another task will delete that, and all the others
                yield lane.delete_unneeded(task.begin, task.last)
        if export_samples and task.period == policy.long:
            yield export_days(lane, task.begin, task.last)
        return
    since = 0
    if task:  # a daily visit: older blocks have been merged
        longest = policy.longest * SECOND
        since = max(lane.clock() // longest * longest - longest, 0)
    yield compact_head(lane, 0, LATEST)
    _note_oldest(lane)
    yield merge_blocks(lane, policy.levels[1:], since, LATEST)
    yield lane.delete_unneeded(since, LATEST)
    if export_samples:
        yield export_days(lane, since, LATEST) if task is None else export_recent_days(lane, since)


def _note_oldest(lane: Lane) -> None:
    """Note the time of the oldest profile that could not be compacted."""
    end = finished_until(lane.policy, lane.policy.short, lane.clock()) - 1
    with suppress(Exception):  # which compacting the head has logged
        if oldest := lane.find_oldest(0, end):
            lane.oldest_left = oldest.created_at
