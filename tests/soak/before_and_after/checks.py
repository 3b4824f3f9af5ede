"""Checks that all answers about histories stay the same."""

import re
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from unittest import mock

from hypothesis import HealthCheck, Phase, given, settings

from profbucket.maintenance import repair
from profbucket.maintenance.compactor import Compactor
from profbucket.maintenance.findings import State
from profbucket.maintenance.repair import fsck, reindex
from profbucket.model.ids import ProfileId, profile_prefix
from profbucket.model.meta import Query
from profbucket.pprof import codec
from profbucket.pprof.block import content as block_content
from profbucket.pprof.columnar import split
from profbucket.query.querier import Querier
from profbucket.storage import store
from profbucket.storage.batches import is_batch_key
from profbucket.storage.listing import list_prefix
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.sources import range_of_profile
from profbucket.storage.store import Storage
from profbucket.times import LATEST
from tests.soak.before_and_after.histories import HOUR, MIDNIGHT, SERVICE, History, Post, apply_round, draw_history
from tests.soak.before_and_after.questions import Question, ask, describe_difference, list_questions
from tests.support.storage.interleaving import SynchronousExecutor

_LIMIT_CODE = re.compile("max_.*_exceeded")


@contextmanager
def suited_to_small_histories() -> Iterator[None]:
    """Make ``Limits.entries`` hold for profiles of any size, start no threads, and let no profile be late."""
    with ExitStack() as patches:
        for module in (codec, split):
            patches.enter_context(mock.patch.object(module, "PRECHECK_BYTES", 0))
        for module in (repair, store):
            patches.enter_context(mock.patch.object(module, "ThreadPoolExecutor", SynchronousExecutor))
        patches.enter_context(mock.patch("profbucket.storage.store.time.time_ns", return_value=MIDNIGHT))
        yield


def check_history(history: History) -> Counter[str]:
    """Check that all answers stay the same; return how often each part of the history happened."""
    with suited_to_small_histories(), ExitStack() as patches:
        if history.are_blocks_large:
            patches.enter_context(mock.patch.object(block_content, "_RESERVE_DIVISOR", 2**60))
        return _check_history(history)


def _check_history(history: History) -> Counter[str]:
    limits, seen = history.limits, Counter[str]()
    never_changed = Storage(MemoryBucket(), MemoryIndex(), limits)
    storage = Storage(MemoryBucket(), MemoryIndex(), limits)
    ids: list[ProfileId] = []
    questions: list[Question] = []
    answers: dict[str, object] = {}  # of the storage that is never changed, since the last post

    def compare(when: str, *, sample: bool = False) -> None:
        """Ask all questions, or a third of them, in turn."""
        seen["comparisons"] += 1
        before, after = Querier(never_changed, limits), Querier(storage, limits)
        for name, question in questions[seen["comparisons"] % 3 :: 3] if sample else questions:
            if name not in answers:
                answers[name] = ask(question, before)
            expected = answers[name]
            if isinstance(expected, str) and _LIMIT_CODE.fullmatch(expected):
                continue  # what was too much before compaction may be possible after it
            actual = ask(question, after)
            assert actual == expected, f"{when}: {name}: {describe_difference(actual, expected)}"

    def compact(clock: int) -> None:
        compactor = Compactor(storage, limits, clock=lambda: clock)
        for run in (compactor.run_due, compactor.run):
            for step in run():
                seen.update({step.action: 1, "together": step.with_next})
            assert not compactor.failed, "the compactor logged an error"

    posted: set[Post] = set()
    for posts, clock, is_index_lost in zip(history.rounds, history.clocks, history.rebuilds, strict=True):
        posted |= {replace(post, batch=0) for post in posts}
        metas = [post.apply(never_changed, limits) for post in posts]
        assert apply_round(posts, storage, limits) == metas
        for post, meta in zip(posts, metas, strict=True):
            if meta:
                ids.append(ProfileId.parse(meta.id))
            seen["accepted" if meta else "not accepted"] += 1
            seen["in batches"] += post.batch > 0
        answers.clear()
        questions = list(list_questions(history, list(dict.fromkeys(ids))))
        compact(clock)
        compare("after compaction", sample=True)
        if is_index_lost:
            storage = Storage(storage.bucket, MemoryIndex(), limits)
            deque(reindex(storage), 0)
            compare("after reindex", sample=True)
        apply_round([post for post in history.repeats if replace(post, batch=0) in posted], storage, limits)
        compare("after repeats", sample=True)
    compact(LATEST)
    compact(LATEST)
    compare("after all compactions", sample=True)
    blocks = storage.index.blocks(SERVICE, None, 0, LATEST)
    seen["blocks"] += len(blocks)
    expire_compacted(storage, seen)
    compare("after expiry")
    storage = Storage(storage.bucket, MemoryIndex(), limits)
    deque(reindex(storage), 0)
    assert {finding.state for finding in fsck(storage)} <= {State.OK, State.DUPLICATE}
    compare("after expiry and reindex")
    return seen


def expire_compacted(storage: Storage, seen: Counter[str]) -> None:
    """Delete all objects of profiles and batches that have no profile in the head."""
    seen["batches"] += sum(is_batch_key(obj.key) for obj in storage.bucket.list("", "~"))
    needed = set()
    for located in storage.lookup.locate(Query(SERVICE, None, 0, LATEST)):
        if not located.block:
            assert located.meta.created_at > LATEST - 2 * HOUR, "a profile cannot be compacted"
            seen["too young to be compacted"] += 1
            needed.add(range_of_profile(located.meta).key)
    for obj in list(list_prefix(storage.bucket, profile_prefix(SERVICE))):
        if obj.key not in needed:
            storage.bucket.delete(obj.key)


def check_histories(examples: int, *, print_counts: bool = False, shrink: bool = True) -> None:
    """Check *examples* histories that Hypothesis draws."""
    total = Counter[str]()

    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        report_multiple_bugs=False,
    )
    @given(draw_history())
    def check(history: History) -> None:
        total.update(check_history(history))
        total["histories"] += 1

    check()
    if print_counts:
        print(", ".join(f"{name} {count}" for name, count in sorted(total.items())))
