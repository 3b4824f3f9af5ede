"""The processes that are killed, the threads that keep them busy, and the claims about their answers."""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from urllib.parse import urlencode

from profbucket.model.form import BATCH_PATH, encode_form
from tests.soak.collector import CollectorProcess
from tests.soak.commands import Commands, Result
from tests.soak.http import Answer, get, post, request_bytes, send
from tests.soak.kill_storm.ledger import SERVICES, Ledger, Posted, Selection, selections
from tests.soak.numbered import numbers_in

_PROFILES = "/api/0/profiles"
_BATCH_SIZES = (1, 1, 2, 6)
_POSTS_PER_KILL = 10
_COMMAND_TIMEOUT_SECONDS = 600.0  # four lanes, each of which may wait 90 s for the locks of killed transactions
_SETTLE_ATTEMPTS = 30
_GRACE_SECONDS = "20"  # replaced blocks are deleted during the storm


class Storm:
    """The processes, the threads that keep them busy, and the claims."""

    def __init__(self, directory: Path, url: str, seed: str, environment: Mapping[str, str]) -> None:
        environment = {**environment, "PROFBUCKET_BLOCK_GRACE": _GRACE_SECONDS}
        self.with_reindex = True
        self.ledger = Ledger()
        self.counts = Counter[str]()
        self.url = url
        self._random = Random(f"{seed}:storm")
        self._seed = seed
        self._collector = CollectorProcess(url, directory / "log", **environment)
        self._compactor = Commands(directory / "compactor", environment)
        self._reindexer = Commands(directory / "reindexer", environment)
        self._posts = threading.Semaphore(0)
        self._working = threading.Event()  # the threads go on
        self._over = threading.Event()
        self._idle = threading.Barrier(5)  # those that pause, and the one that checks
        self._failures: list[str] = []
        self._log_position = 0

    @contextmanager
    def running(self) -> Iterator["Storm"]:
        """Run the collector and the threads until the block ends."""
        targets: Sequence[Callable[[], None]] = (
            lambda: self._repeat(self._write, Random(f"{self._seed}:writer")),
            lambda: self._repeat(self._read, Random(f"{self._seed}:reader")),
            lambda: self._repeat(self._compact, Random(f"{self._seed}:compactor")),
            lambda: self._repeat(self._reindex, Random(f"{self._seed}:reindexer")),
        )
        threads = [threading.Thread(target=target, daemon=True) for target in targets]
        self._collector.start()
        self._working.set()
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._over.set()
            self._working.clear()
            self._idle.abort()
            self._posts.release(1000)
            self._compactor.interrupt()
            self._reindexer.interrupt()
            for thread in threads:
                thread.join(60)
            self._compactor.close()
            self._reindexer.close()
            self._collector.kill()

    def kill(self) -> None:
        """Wait for a moment and kill one of the processes."""
        self._posts.release(_POSTS_PER_KILL)
        pauses = (0.02, 0.1, 0.3, 0.6) if self.url.startswith("file:") else (0.1, 0.5, 2.0, 5.0)
        time.sleep(self._random.choice(pauses) * self._random.random() * 2)
        while True:
            roll = self._random.random()
            if roll < 0.2:
                self._collector.kill()
                self._collector.start()
                self.counts["collector killed"] += 1
                return
            name, commands = ("compact", self._compactor) if roll < 0.65 else ("reindex", self._reindexer)
            if commands.interrupt():
                self.counts[f"{name} killed"] += 1
                return
            time.sleep(0.01)  # it is between two runs

    def check(self) -> None:
        """Stop everything, check all claims, and go on. Raise ``AssertionError`` if one does not hold."""
        self._working.clear()
        self._posts.release(1000)  # nobody waits for a turn to post
        if self._random.random() < 0.5:
            self._compactor.interrupt()
            self._reindexer.interrupt()
        self._idle.wait(_COMMAND_TIMEOUT_SECONDS)
        while self._posts.acquire(blocking=False):
            pass
        try:
            self.verify()
        finally:
            self._working.set()
            self._idle.wait(_COMMAND_TIMEOUT_SECONDS)
        self._raise_failures()

    def finish(self) -> None:
        """Check all claims behind the storm: before and after a reindex, and after a compaction."""
        self._working.clear()
        self._posts.release(1000)
        self._idle.wait(_COMMAND_TIMEOUT_SECONDS)
        self._raise_failures()
        self.verify()
        self._settle("reindex", "--storage", self.url)
        self.verify()
        self._settle("fsck", "--storage", self.url)
        self._settle("compact", "--all", "--storage", self.url)
        self.verify()
        self._settle("reindex", "--storage", self.url)
        self._settle("fsck", "--storage", self.url)
        self.verify()
        self._raise_failures()

    def verify(self) -> None:
        """Check that merges, lists and single profiles are right while nothing is written."""
        for selection in selections():
            acknowledged = self.ledger.numbers(selection.wanted, acknowledged=True)
            posted = self.ledger.numbers(selection.wanted, acknowledged=False)
            numbers = self._merge(selection, acknowledged, posted)
            found = self._find(selection)
            assert len(found) == len(set(found)), f"{selection.parameters}: find lists a profile twice"
            assert len(found) == len(numbers), f"{selection.parameters}: {len(found)} found, {len(numbers)} merged"
            lost = {self.ledger.acknowledged[number] for number in acknowledged} - set(found)
            assert not lost, f"acknowledged and not found: {sorted(lost)[:10]}"
        some = sorted(self.ledger.acknowledged.items())
        for number, profile_id in Random(len(some)).sample(some, min(10, len(some))):
            answer = self._ask(f"{_PROFILES}/{profile_id}", {})
            assert answer.status == 200, f"{profile_id}: {answer}"
            assert answer.body == self.ledger.posted[number].body, f"{profile_id} has other bytes than were posted"
        self.counts["checks"] += 1

    # What the threads do.

    def _repeat(self, work: Callable[[Random], None], random: Random) -> None:
        while not self._over.is_set():
            if not self._working.is_set():
                try:
                    self._idle.wait()
                    self._idle.wait()
                except threading.BrokenBarrierError:
                    return
                continue
            try:
                work(random)
            except Exception as error:  # noqa: BLE001 - it fails the storm
                self._failures.append(f"{type(error).__name__}: {error}")

    def _write(self, random: Random) -> None:
        """Post profiles until they are acknowledged, or give them up; sometimes some that were posted before."""
        self._posts.acquire()
        if not self._working.is_set():
            return
        size = random.choice(_BATCH_SIZES)
        repeats = random.choice((1, size)) if random.random() < 0.1 else 0
        posted = list(self.ledger.posted.values())
        repeated = random.sample(posted, min(repeats, len(posted)))
        profiles = repeated + self.ledger.add(random, size - len(repeated))
        for _ in range(random.choice((1, 3, 100))):
            profiles = self._post_batch(profiles) if len(profiles) > 1 else self._post_one(*profiles)
            if not profiles:
                return
            time.sleep(0.1)

    def _post_one(self, one: Posted) -> list[Posted]:
        """Post a profile and return what is not acknowledged."""
        answer = post(self._collector.port, _PROFILES, one.body, **one.parameters)
        self.counts[f"posts answered {answer.status}"] += 1
        if answer.status == 200:
            self.ledger.acknowledge(one, answer.json()["body"]["id"])
            return []
        assert answer.status in (0, 503), f"a post is answered {answer}"
        return [one]

    def _post_batch(self, profiles: list[Posted]) -> list[Posted]:
        """Post *profiles* together and return those that are not acknowledged."""
        body, content_type = encode_form([(one.parameters, one.body) for one in profiles])
        request = request_bytes("POST", BATCH_PATH, body, {"Content-Type": content_type})
        answer = send(self._collector.port, request)
        self.counts[f"batches answered {answer.status}"] += 1
        if answer.status in (0, 503):
            return profiles
        assert answer.status in (200, 207), f"a batch is answered {answer}"
        remaining = []
        for one, part in zip(profiles, answer.json()["body"], strict=True):
            if part["code"] == 200:
                self.ledger.acknowledge(one, part["body"]["id"])
            else:
                assert part["code"] == 503, f"a part is answered {part}"
                remaining.append(one)
        return remaining

    def _read(self, random: Random) -> None:
        """Merge, and check what is there."""
        selection = random.choice(list(selections()))
        acknowledged = self.ledger.numbers(selection.wanted, acknowledged=True)
        answer = self._merge_once(selection)
        if answer.status in (0, 503):  # killed, or without its storage
            time.sleep(0.05)
            return
        self._check_merge(answer, acknowledged, self.ledger.numbers(selection.wanted, acknowledged=False))
        time.sleep(0.02)

    def _compact(self, random: Random) -> None:
        options = _random_service(random) or random.choice(((), ("--all",)))
        self._run(self._compactor, "compact", "--storage", self.url, *options)

    def _reindex(self, random: Random) -> None:
        command = "reindex" if self.with_reindex and random.random() < 0.8 else "fsck"
        self._run(self._reindexer, command, "--storage", self.url, *_random_service(random))

    def _run(self, commands: Commands, *arguments: str) -> Result:
        result = commands.run(*arguments, seconds=_COMMAND_TIMEOUT_SECONDS)
        self.counts[f"{arguments[0]} ended with {result.code}"] += 1
        assert not result.has_traceback, f"{arguments}: {result.stderr[-3000:]}"
        assert result.seconds < _COMMAND_TIMEOUT_SECONDS, f"{arguments}: no end: {result.stderr[-3000:]}"
        if result.code == 1 and arguments[0] != "fsck":
            assert not self.url.startswith("file:"), (
                f"{arguments}: {result.stderr[-3000:]}"
            )  # no proxy is to blame
            reason = result.stderr.strip().rpartition("\n")[2]
            reason = re.sub(r"[0-9a-f]{16}|[0-9TZ.]{10,}|\d+", "N", reason)[:160]
            self.counts[f"{arguments[0]}: {reason}"] += 1
        return result

    # Claims.

    def _merge(self, selection: Selection, acknowledged: set[int], posted: set[int]) -> set[int]:
        answer = self._ask(f"{_PROFILES}/merge", selection.parameters)
        return self._check_merge(answer, acknowledged, posted)

    def _merge_once(self, selection: Selection) -> Answer:
        self.counts["merges"] += 1
        return get(self._collector.port, f"{_PROFILES}/merge?{urlencode(selection.parameters)}")

    def _check_merge(self, answer: Answer, acknowledged: set[int], posted: set[int]) -> set[int]:
        if answer.status == 404:
            numbers: set[int] = set()
        else:
            assert answer.status == 200, f"a merge is answered {answer}"
            numbers = numbers_in(answer.body)
        assert numbers >= acknowledged, f"acknowledged and not merged: {sorted(acknowledged - numbers)[:20]}"
        assert numbers <= posted, f"merged and never posted: {sorted(numbers - posted)[:20]}"
        return numbers

    def _find(self, selection: Selection) -> list[str]:
        found: list[str] = []
        page: dict[str, object] = {}
        while True:
            answer = self._ask(_PROFILES, {**selection.parameters, **page, "limit": 1000})
            if answer.status == 404:
                return found
            assert answer.status == 200, f"a find is answered {answer}"
            document = answer.json()
            found += [profile["id"] for profile in document["body"]]
            if "next" not in document:
                return found
            page = {"page": document["next"]}

    def _ask(self, path: str, parameters: Mapping[str, object]) -> Answer:
        """Ask until the storage is there, which proxies deny now and then."""
        for _ in range(_SETTLE_ATTEMPTS):
            answer = get(self._collector.port, f"{path}?{urlencode(parameters)}" if parameters else path)
            if answer.status not in (0, 503):
                break
            self.counts["answers that were asked for again"] += 1
            time.sleep(0.1)
        return answer

    def _settle(self, *arguments: str) -> None:
        """Run a command until it succeeds, which proxies prevent now and then."""
        for _ in range(_SETTLE_ATTEMPTS):
            result = self._run(self._compactor, *arguments)
            if result.code == 0:
                return
            if arguments[0] == "fsck" and result.stdout:  # it has findings
                break
        raise AssertionError(f"{arguments}: exit {result.code}: {result.stdout[-2000:]}\n{result.stderr[-2000:]}")

    def _raise_failures(self) -> None:
        log = self._collector.log.read_text(errors="replace")
        if "Traceback" in log:
            begin = log.index("Traceback")
            self._failures.append(f"the collector logged {log[begin - 300 : begin + 5000]}")
        assert not self._failures, "\n".join(dict.fromkeys(self._failures))[:6000]

    def tell(self) -> str:
        """Return a summary."""
        counts = "\n".join(f"  {name}: {count}" for name, count in sorted(self.counts.items()))
        return f"{len(self.ledger.posted)} posted, {len(self.ledger.acknowledged)} acknowledged\n{counts}"


def _random_service(random: Random) -> Sequence[str]:
    return ("--service", random.choice(SERVICES)) if random.random() < 0.3 else ()
