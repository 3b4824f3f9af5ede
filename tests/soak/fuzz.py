"""Mutation fuzzing of a collector over a directory: posts, batches, objects, their metadata, blocks and the index.

``python -m tests.soak.fuzz --seconds 600 [--seed TEXT] [--round N] [--keep-going] [--out DIRECTORY]``

A round posts mutated profiles, or damages what is stored, and then asks every question over HTTP and by the
command line. It fails if an answer is a 5xx that the damage does not explain, if a log or a command shows a
traceback, if a process takes more than 700 MB, if /healthz does not answer, if an answer changes by compaction or
reindexing, or if damage of one service changes an answer about another.

A round is determined by the seed and its number. The files to reproduce a failure are in --out.
"""

import argparse
import gzip
import json
import re
import secrets
import shutil
import signal
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory, gettempdir
from typing import Any
from urllib.parse import urlencode

from profbucket.model.batches import decode_table
from profbucket.model.form import BATCH_PATH, PROFILES_PATH, encode_form
from profbucket.storage.sources import range_of_profile
from profbucket.times import SECOND
from tests.soak.batch_mutations import make_part, mutated_batch
from tests.soak.collector import CollectorProcess
from tests.soak.commands import Commands, Result
from tests.soak.damage import (
    batch_files,
    block_files,
    damage_batch,
    damage_block,
    damage_index,
    damage_metadata,
    damage_object,
    object_files,
)
from tests.soak.http import Answer, request_bytes, send
from tests.soak.numbered import numbered_profile, numbers_in
from tests.soak.profile_mutations import (
    DAY_BEGIN,
    bomb,
    compress,
    mutated_bytes,
    mutated_profile,
    real_profiles,
    real_traces,
)
from tests.soak.request_mutations import mutated_post
from tests.support.canonical import canonicalize
from tests.support.storage.local_files import read_metadata

MEMORY_BYTES = 700 << 20
_COMMAND_TIMEOUT_SECONDS = 90.0
_HEALTH_TIMEOUT_SECONDS = 10.0
_HOUR = 3600 * 10**9

_DAMAGE_CODES = ("damaged", "unavailable")  # of answers over damaged objects
_FROM_SERVER = (501, 505)  # gunicorn's answers to framings and versions of HTTP that it does not support
_READ_TYPES = ("cpu", "heap", "goroutine")
_SINCE = "2024-01-01T00:00:00"

Question = tuple[str, str, Mapping[str, object]]  # a name, a path, parameters


@dataclass(frozen=True, slots=True)
class Finding:
    """A claim that does not hold. Findings with one *signature* have one cause."""

    signature: str
    step: str
    detail: str


@dataclass
class Report:
    """Requests, notes and findings of a round."""

    findings: list[Finding] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Fuzzer:
    """A collector over a directory in *directory*, and the rounds that it is put through."""

    def __init__(self, directory: Path, seed: str) -> None:
        self.seed = seed
        self.root = directory / "profiles"
        self.url = f"file://{self.root}"
        self.collector = CollectorProcess(self.url, directory / "log", PROFBUCKET_MAX_INFLIGHT_SECONDS="5")
        self.commands = Commands(directory / "commands", {"STORAGE_URL": self.url})
        self.counts = Counter[str]()
        self.slowest_health = 0.0
        self._directory = directory
        self._health = threading.Thread(target=self._watch_health, daemon=True)
        self._over = threading.Event()
        self._is_serving = threading.Event()
        self._silences: list[str] = []
        self._log_position = 0
        self._report = Report()
        self._step = ""
        self._resident_bytes = 0
        self._damaged = False
        self._is_exact = True

    @contextmanager
    def running(self) -> Iterator["Fuzzer"]:
        """Start the collector, and end everything behind the block."""
        try:
            self.collector.start()
            self._is_serving.set()
            self._health.start()
            yield self
        finally:
            self._over.set()
            self._is_serving.clear()
            self.collector.kill()
            self.commands.close()
            self._health.join()

    def run_round(self, number: int, kind: str = "") -> Report:
        """Run the round *number* and return its findings. Its number decides the *kind* if none is given."""
        self._report = Report()
        self._damaged = False
        self._is_exact = True
        random = Random(f"{self.seed}:{number}")
        drawn = random.choices(tuple(_ROUNDS), weights=[weight for weight, _ in _ROUNDS.values()])[0]
        kind = kind or drawn
        self._step = kind
        self._report.notes.append(f"a round of kind {kind}")
        begin = time.monotonic()
        try:
            _ROUNDS[kind][1](self, random, number)
        except AssertionError as error:
            self._fail("assertion", str(error))
        self._check_process()
        self.counts[f"rounds of {kind}"] += 1
        self.counts[f"seconds of {kind}"] += round(time.monotonic() - begin)
        return self._report

    def restart(self) -> None:
        """Start the collector again, so that its peak memory is counted from now on."""
        self._is_serving.clear()
        self.collector.kill()
        self.collector.start()
        self._is_serving.set()

    def clear(self, services: Iterable[str]) -> None:
        """Remove everything of *services* from the storage."""
        self._step = "cleaning up"
        for service in services:
            shutil.rmtree(self.root / service, ignore_errors=True)
            shutil.rmtree(self.root / "_" / "blocks" / service, ignore_errors=True)
            self._command("reindex", "--storage", self.url, "--service", service, codes=(0,))
            answer = self._ask("find", "/api/0/profiles", {"service": service, "from": 0})
            if answer.error_code != "not_found":
                self._fail("entries outlive their objects and a reindex", f"{answer}")

    # The kinds of rounds.

    def fuzz_posts(self, random: Random, number: int) -> None:
        """Post mutated profiles with mutated requests, read them, compact, reindex, and compare the answers."""
        service = f"posts-{number}"
        accepted: dict[str, tuple[str, bytes]] = {}
        profiles = real_profiles()
        wanted = random.sample(_READ_TYPES, 2)
        for post_number in range(random.choice((12, 24, 40))):
            self._step = f"post {post_number}"
            profile_type, raw = random.choice([pair for pair in profiles if pair[0] in wanted])
            roll = random.random()
            if roll < 0.02:
                body = bomb(random)
            elif roll < 0.07:
                profile_type, body = "trace", mutated_bytes(random, random.choice(real_traces()))
            else:
                body = compress(random, mutated_profile(random, raw))
            post = mutated_post(random, service, profile_type, f"v={random.randrange(3)}", body)
            answer = self._send(post.data(), truncated=post.truncated, well_formed=post.is_well_formed)
            self.counts[f"posts answered {answer.status}"] += 1
            if answer.status == 200 and answer.body.startswith(b"{"):
                meta = answer.json()["body"]
                if meta["service"] == service:
                    accepted[meta["id"]] = meta["type"], body if post.is_stored_unchanged else b""
        for profile_id, (_, body) in accepted.items():
            self._step = f"get {profile_id}"
            answer = self._ask("get", f"/api/0/profiles/{profile_id}", {})
            if answer.status != 200 or (body and answer.body != body):
                self._fail("an accepted profile is not returned as it was posted", f"{answer}")
        types = sorted({profile_type for profile_type, _ in accepted.values()} - {"trace"})
        self._compact_and_compare(random, service, types, list(accepted))

    def fuzz_batches(self, random: Random, number: int) -> None:
        """Post batches of mutated profiles in mutated forms, or damage batches that are stored."""
        if random.random() < 0.5:
            damages = random.choice(([_damage_batches], [_damage_batches, _damage_blocks]))
            self._fuzz_damage(random, number, compacted=random.choice((0, 8, 16)), damages=damages, batch=4)
            return
        service = f"batches-{number}"
        accepted: dict[str, str] = {}
        profiles = real_profiles()
        for post_number in range(random.choice((4, 8))):
            self._step = f"batch {post_number}"
            parts = []
            for _ in range(random.choice((1, 3, 8))):
                profile_type, raw = random.choice(profiles)
                body = bomb(random) if random.random() < 0.02 else compress(random, mutated_profile(random, raw))
                parts.append(make_part(service, profile_type, f"v={random.randrange(3)}", body))
            answer = self._send(mutated_batch(random, parts), well_formed=False)
            self.counts[f"batches answered {answer.status}"] += 1
            if answer.status not in (200, 207, 400, 413, 415, 503):
                self._fail(f"post: a batch is answered {answer.status}", f"{answer}")
            outcomes = answer.json().get("body", []) if answer.body else []
            codes = {outcome["code"] for outcome in outcomes}
            if (answer.status == 200) != (codes == {200}) or (answer.status == 207) != (
                200 in codes and len(codes) > 1
            ):
                self._fail("post: the status is not that of the parts", f"{answer.status} for {codes}")
            for meta in (outcome["body"] for outcome in outcomes if outcome["code"] == 200):
                if meta["service"] == service:
                    accepted[meta["id"]] = meta["type"]
        for profile_id in accepted:
            self._step = f"get {profile_id}"
            if self._ask("get", f"/api/0/profiles/{profile_id}", {}).status != 200:
                self._fail("an accepted profile of a batch is not found", profile_id)
        self._compact_and_compare(random, service, sorted({*accepted.values()} - {"trace"}), list(accepted))

    def fuzz_objects(self, random: Random, number: int) -> None:
        """Damage objects of profiles that are not compacted, or only in part."""
        self._fuzz_damage(random, number, compacted=random.choice((0, 0, 8)), damages=[_damage_objects])

    def fuzz_blocks(self, random: Random, number: int) -> None:
        """Damage blocks, with the profiles that they were made of or without."""
        self._fuzz_damage(random, number, compacted=random.choice((8, 16)), damages=[_damage_blocks])

    def fuzz_metadata(self, random: Random, number: int) -> None:
        """Damage the metadata of objects and of blocks."""
        damages = random.choice(([_damage_object_metadata], [_damage_block_metadata], list(_DAMAGES)))
        self._fuzz_damage(random, number, compacted=random.choice((0, 8, 16)), damages=damages)

    def fuzz_index(self, random: Random, number: int) -> None:
        """Damage a copy of the index; then lose it, and rebuild it from the bucket."""
        service = f"index-{number}"
        self._post_numbered(service, range(12), compact_after=8)
        copy = self._copy_storage()
        url = f"file://{copy}"
        self._damaged = True
        for _ in range(random.choice((1, 1, 3))):
            self._report.notes.append(damage_index(random, copy / ".index.sqlite"))
        range_options = ("--service", service, "--type", "cpu", "--from", _SINCE)
        for arguments in (
            ("services", "--storage", url),
            ("find", "--storage", url, *range_options),
            ("find", "--storage", url, *range_options, "--label", "v=1"),
            ("merge", "--storage", url, *range_options, "-o", str(copy / ".merged")),
            ("top", "--storage", url, *range_options, "--label", "v=~[12]"),
            ("fsck", "--storage", url),
            ("compact", "--storage", url),
            ("reindex", "--storage", url),
            ("fsck", "--storage", url),
        ):
            self._command(*arguments, codes=(0, 1))
        for file in copy.glob(".index.sqlite*"):
            file.unlink()
        self._step = "after losing the index"
        self._command("reindex", "--storage", url, codes=(0,))
        self._command("fsck", "--storage", url, codes=(0,))
        merged = self._merge_copy(copy, service)
        if merged != set(range(12)):
            self._fail("a reindex without an index does not restore everything", f"{merged}")
        shutil.rmtree(copy)
        self._damaged = False
        self.clear([service])

    def _fuzz_damage(
        self,
        random: Random,
        number: int,
        *,
        compacted: int,
        damages: Sequence["_DamageFunction"],
        batch: int = 1,
    ) -> None:
        service, healthy = f"damaged-{number}", f"healthy-{number}"
        ids = self._post_numbered(service, range(16), compact_after=compacted, batch=batch)
        self._post_numbered(healthy, range(100, 106), compact_after=random.choice((0, 3)))
        if compacted == 16 and random.random() < 0.5:
            for file in object_files(self.root, service):
                file.unlink()  # as a lifecycle does
            self._report.notes.append("raw objects have expired")
            ids = {}
        questions = list(_questions(random, service, ["cpu"], list(ids)))
        healthy_questions = list(_questions(random, healthy, ["cpu"], []))
        before = self._ask_all(questions, "before the damage")
        healthy_before = self._ask_all(healthy_questions, "before the damage")
        snapshot = _snapshot(self.root, service)
        self._damaged = True
        for _ in range(random.choice((1, 1, 2, 4))):
            done = random.choice(damages)(random, self.root, service)
            self._report.notes.append(done or "nothing to damage")
            # What was edited and looks right is found by reading all of an object, which a merge need not do.
            self._is_exact = self._is_exact and not any(word in done for word in ("edited", "inflated", "set "))
        intact = _intact(snapshot, _snapshot(self.root, service), ids, batch)

        def check(stage: str) -> None:
            after = self._ask_all(questions, stage)
            self._check_damaged(before, after, intact, stage)
            self._compare(healthy_before, self._ask_all(healthy_questions, stage), f"another service, {stage}")

        check("after the damage")
        scope = () if random.random() < 0.6 else ("--service", service)
        for command in random.sample(("fsck", "compact", "reindex", "fsck", "compact"), 5):
            self._command(command, "--storage", self.url, *scope, codes=(0, 1))
        check("after repair")
        self._read_by_commands(service, ["cpu"])
        if random.random() < 0.3:
            copy = self._copy_storage()
            for file in copy.glob(".index.sqlite*"):
                file.unlink()
            self._step = "after losing the index"
            self._command("reindex", "--storage", f"file://{copy}", codes=(0, 1))
            merged = self._merge_copy(copy, healthy)
            if merged != set(range(100, 106)):
                self._fail("damage of one service stops the reindex of another", f"{merged}")
            shutil.rmtree(copy)
        self._damaged = False
        self._keep_storage(service)
        self.clear([service, healthy])

    # Steps of rounds.

    def _compact_and_compare(self, random: Random, service: str, types: Sequence[str], ids: Sequence[str]) -> None:
        """Compact and reindex *service*, compare the answers, and remove it."""
        questions = list(_questions(random, service, types, ids))
        before = self._ask_all(questions, "before compaction")
        self._command("fsck", "--storage", self.url, "--service", service, codes=(0,))
        self._command("compact", "--storage", self.url, "--service", service, codes=(0,))
        self._compare(before, self._ask_all(questions, "after compaction"), "compaction")
        self._command("reindex", "--storage", self.url, "--service", service, codes=(0,))
        self._command("fsck", "--storage", self.url, "--service", service, codes=(0,))
        self._compare(before, self._ask_all(questions, "after reindex"), "reindex")
        self._read_by_commands(service, types)
        self.clear([service])

    def _post_numbered(
        self, service: str, numbers: Sequence[int], compact_after: int, batch: int = 1
    ) -> dict[str, int]:
        """Post numbered profiles of three hours, compact after some, and return their numbers by their ids.

        Each *batch* of them is one post.
        """
        ids: dict[str, int] = {}
        for begin in range(0, len(numbers), batch):
            parts, own_numbers = [], numbers[begin : begin + batch]
            self._step = f"post numbered profiles {own_numbers}"
            for i, number in enumerate(own_numbers, begin):
                body = numbered_profile(number, _numbered_time(i, batch), gzip=number % 4 != 0)
                parts.append(({"service": service, "type": "cpu", "labels": f"v={number % 3}"}, body))
            if batch > 1:
                form, content_type = encode_form(parts)
                request = request_bytes("POST", BATCH_PATH, form, {"Content-Type": content_type})
            else:
                [(parameters, body)] = parts
                request = request_bytes("POST", f"{PROFILES_PATH}?{urlencode(parameters)}", body)
            answer = self._send(request)
            assert answer.status == 200, f"a valid post is answered {answer}"
            outcomes = answer.json()["body"] if batch > 1 else [answer.json()]
            ids.update(zip((outcome["body"]["id"] for outcome in outcomes), own_numbers, strict=True))
            if begin + batch == compact_after:
                self._command("compact", "--storage", self.url, "--service", service, codes=(0,))
        return ids

    def _ask_all(self, questions: Sequence[Question], stage: str) -> dict[str, Answer]:
        answers = {}
        for name, path, parameters in questions:
            self._step = f"{name} {stage}: {path}?{urlencode(parameters)}"
            answers[name] = self._ask(name, path, parameters)
        return answers

    def _ask(self, name: str, path: str, parameters: Mapping[str, object]) -> Answer:
        self.counts["reads"] += 1
        return self._send(request_bytes("GET", f"{path}?{urlencode(parameters)}"), name)

    def _send(
        self, data: bytes, name: str = "post", *, truncated: bool = False, well_formed: bool = True
    ) -> Answer:
        self._report.requests.append(data)
        answer = send(self.collector.port, data, truncated=truncated)
        if answer.status == 0 and well_formed:
            self._fail(f"{_route(name)}: no answer", f"{answer}")
        if answer.status >= 500 and answer.status not in _FROM_SERVER:
            code = answer.error_code
            if not (self._damaged and code in _DAMAGE_CODES) and code != "internal":  # the log says more of these
                self._fail(f"{_route(name)}: {answer.status} {code}", f"{answer}")
        self._check_process()
        return answer

    def _command(self, *arguments: str, codes: Sequence[int]) -> Result:
        self._step = " ".join(arguments)
        self.counts["commands"] += 1
        result = self.commands.run(*arguments, seconds=_COMMAND_TIMEOUT_SECONDS)
        shown = f"exit {result.code} after {result.seconds:.1f} s, {result.peak_bytes >> 20} MB"
        shown = f"{shown}: {result.stderr[-3000:]}"
        if result.has_traceback:
            self._fail(f"{arguments[0]}: {_traceback_signature(result.stderr)}", shown)
        elif result.code < 0:
            self._fail(f"{arguments[0]}: does not end within {_COMMAND_TIMEOUT_SECONDS:.0f} s", shown)
        elif result.code not in codes:
            self._fail(f"{arguments[0]}: exit {result.code} without damage", f"{shown}\n{result.stdout[:1000]}")
        if result.peak_bytes > MEMORY_BYTES:
            self._fail(f"{arguments[0]}: memory", shown)
        odd = sorted({char for char in result.stdout + result.stderr if not char.isprintable()} - set("\n\r"))
        if odd and arguments[0] in ("find", "top", "services"):
            self._fail(f"{arguments[0]}: prints control characters", f"{odd}")
        return result

    def _read_by_commands(self, service: str, types: Sequence[str]) -> None:
        for profile_type in types:
            range_options = ("--service", service, "--type", profile_type, "--from", _SINCE)
            self._command("find", "--url", self.collector.url, *range_options, codes=(0, 1))
            self._command("top", "--url", self.collector.url, *range_options, codes=(0, 1))
            self._command("top", "--storage", self.url, *range_options, "--delta", codes=(0, 1))

    def _check_process(self) -> None:
        """Check the collector's log, its memory and its health."""
        with self.collector.log.open("rb") as log:
            log.seek(self._log_position)
            text = log.read().decode(errors="replace")
            self._log_position = log.tell()
        if "Traceback" in text or "CRITICAL" in text:
            self._fail(f"log: {_traceback_signature(text)}", text[-6000:])
        if not self.collector.is_running():
            self._fail("the collector has ended", text[-2000:])
            self.restart()
        if (peak := self.collector.peak_bytes()) > MEMORY_BYTES:
            before = self._resident_bytes >> 20
            self._fail(f"memory at {self._step.split()[0]}", f"{peak >> 20} MB, {before} MB before the step")
            self.restart()
        self._resident_bytes = self.collector.resident_bytes()
        self.counts["memory between steps, MB"] = max(
            self.counts["memory between steps, MB"], self._resident_bytes >> 20
        )
        self.counts["peak memory, MB"] = max(self.counts["peak memory, MB"], peak >> 20)
        while self._silences:
            self._fail("health", self._silences.pop())

    def _watch_health(self) -> None:
        while not self._over.wait(0.5):
            begin = time.monotonic()
            answer = send(self.collector.port, request_bytes("GET", "/healthz"))
            seconds = time.monotonic() - begin
            if self._is_serving.is_set():
                self.slowest_health = max(self.slowest_health, seconds)
                if answer.status != 200 or seconds > _HEALTH_TIMEOUT_SECONDS:
                    self._silences.append(f"/healthz answered {answer} after {seconds:.1f} s")

    def _compare(self, before: Mapping[str, Answer], after: Mapping[str, Answer], cause: str) -> None:
        """Check that nothing that was answered before is answered differently after *cause*."""
        for name, first in before.items():
            second = after[name]
            self._step = f"comparing {name} before and after {cause}"
            if first.status == 200 and second.status != 200:
                self._fail(f"{_route(name)}: {second.status} {second.error_code} after {cause}", f"{second}")
            elif first.status == 200 and first.body != second.body:
                same, difference = _differ(name, first, second)
                if not same:
                    self._fail(f"{_route(name)}: differs after {cause}", difference)

    def _check_damaged(
        self, before: Mapping[str, Answer], after: Mapping[str, Answer], intact: set[int], stage: str
    ) -> None:
        """Check that answers over damaged objects are errors that say so, or right about what is left."""
        for name, first in before.items():
            second = after[name]
            self._step = f"{name} {stage}"
            subject = _route(name)
            if first.status != 200:
                continue
            if second.status not in (200, 404, 500, 503):
                self._fail(f"{subject}: {second.status} {second.error_code} over damage", f"{second}")
            if subject == "get" and second.status == 200 and second.body != first.body:
                # A profile without an object is rebuilt from its block: other bytes, but the same content.
                same, difference = _differ("merge", first, second)
                if not same:
                    self._fail("get: other content than was posted", difference)
            if subject == "merge" and second.status == 200 and self._is_exact:
                try:
                    numbers, all_numbers = numbers_in(second.body), numbers_in(first.body)
                except Exception as error:  # noqa: BLE001 - damage that is passed on has any form
                    self._fail("merge: wrong values over damage", f"{type(error).__name__}: {error}"[:2000])
                    continue
                if "limit" in name:  # picks others where some are gone
                    continue
                if not all_numbers & intact <= numbers <= all_numbers:
                    shown = f"{sorted(numbers)} of {sorted(all_numbers)}; intact are {sorted(intact)}"
                    self._fail("merge: lacks intact profiles, or has others", shown)

    def _copy_storage(self) -> Path:
        """Copy the storage with its index and return the copy."""
        copy = self._directory / "copy"
        shutil.rmtree(copy, ignore_errors=True)  # of a round that failed
        shutil.copytree(self.root, copy, ignore=shutil.ignore_patterns(".index.sqlite*"))
        with (
            closing(sqlite3.connect(self.root / ".index.sqlite")) as source,
            closing(sqlite3.connect(copy / ".index.sqlite")) as target,
        ):
            source.backup(target)
        return copy

    def _merge_copy(self, copy: Path, service: str) -> set[int]:
        file = copy / ".merged"
        file.unlink(missing_ok=True)
        options = ("--service", service, "--type", "cpu", "--from", _SINCE, "-o", str(file))
        self._command("merge", "--storage", f"file://{copy}", *options, codes=(0,))
        return numbers_in(file.read_bytes()) if file.exists() else set()

    def _keep_storage(self, service: str) -> None:
        """Keep the files of *service* for the reproducer, if there is something to reproduce."""
        if self._report.findings:
            kept = self._directory / "kept"
            shutil.rmtree(kept, ignore_errors=True)
            for folder in (Path(service), Path("_/blocks") / service):
                if (self.root / folder).exists():
                    shutil.copytree(self.root / folder, kept / folder)

    def _fail(self, signature: str, detail: str) -> None:
        self._report.findings.append(Finding(signature, self._step, detail))


_ROUNDS: Mapping[str, tuple[int, Callable[[Fuzzer, Random, int], None]]] = {
    "posts": (4, Fuzzer.fuzz_posts),
    "batches": (4, Fuzzer.fuzz_batches),
    "objects": (2, Fuzzer.fuzz_objects),
    "blocks": (3, Fuzzer.fuzz_blocks),
    "metadata": (3, Fuzzer.fuzz_metadata),
    "index": (1, Fuzzer.fuzz_index),
}

_DamageFunction = Callable[[Random, Path, str], str]


def _damage_objects(random: Random, root: Path, service: str) -> str:
    files = object_files(root, service)
    return damage_object(random, files) if files else ""


def _damage_batches(random: Random, root: Path, service: str) -> str:
    files = batch_files(root, service)
    return damage_batch(random, files) if files else ""


def _damage_blocks(random: Random, root: Path, service: str) -> str:
    files = block_files(root, service)
    return damage_block(random, files) if len(files) else ""


def _damage_object_metadata(random: Random, root: Path, service: str) -> str:
    files = object_files(root, service)
    return damage_metadata(random, files) if files else ""


def _damage_block_metadata(random: Random, root: Path, service: str) -> str:
    files = block_files(root, service)
    return damage_metadata(random, files) if files else ""


_DAMAGES: Sequence[_DamageFunction] = (
    *(_damage_objects, _damage_blocks, _damage_object_metadata, _damage_block_metadata),
)


def _questions(random: Random, service: str, types: Sequence[str], ids: Sequence[str]) -> Iterator[Question]:
    """Yield what is asked about *service*, each question with a name of its own; its first word is the route."""
    profiles = "/api/0/profiles"
    everything: dict[str, object] = {"service": service, "from": 0}
    yield "find", profiles, everything
    yield "find label", profiles, {**everything, "v": "1"}
    yield "find page", profiles, {**everything, "limit": 2}
    yield "labels", "/api/0/labels", {"service": service}
    yield "series", "/api/0/series", {**everything, "from": _SINCE, "to": "2024-12-31T00:00:00", "group_by": "v"}
    for profile_type in types:
        typed = {**everything, "type": profile_type}
        merge = f"{profiles}/merge"
        part = {"from": "2024-06-01T00:30:00", "to": "2024-06-01T02:29:59"}
        yield f"merge {profile_type}", merge, typed
        yield f"merge {profile_type} by label", merge, {**typed, "v": random.randrange(3)}
        yield f"merge {profile_type} by labels", merge, {**typed, "labels": "v!=0"}
        yield f"merge {profile_type} by expression", merge, {**typed, "labels": "v=~[01]"}
        yield f"merge {profile_type} by time", merge, {**typed, **part}
        yield f"merge {profile_type} by time and label", merge, {**typed, **part, "v": 1}
        yield f"merge {profile_type} limit", merge, {**typed, "limit": 3}
        yield f"refined {profile_type}", merge, {**typed, "focus": "[a-m]", "hide": "e$", "tagroot": "k,l"}
        yield f"tags {profile_type}", "/api/0/tags", typed
        yield f"delta {profile_type}", merge, {**typed, "delta": 1}
        yield f"flame {profile_type}", f"{profiles}/flame", typed
        yield f"flame {profile_type} by time", f"{profiles}/flame", {**typed, **part, "max_nodes": 50}
        yield f"flame {profile_type} compared", f"{profiles}/flame", {**typed, "base_labels": "v=1", "v": 2}
        yield f"find {profile_type}", profiles, typed
        yield f"series {profile_type}", "/api/0/series", {**typed, "step": "1d", "from": _SINCE}
    for profile_id in ids[:16]:
        yield f"get {profile_id}", f"{profiles}/{profile_id}", {}
    if len(ids) > 1:
        first, *_, last = sorted(ids)
        yield "ids", f"{profiles}/{first}+{last}", {}


def _differ(name: str, first: Answer, second: Answer) -> tuple[bool, str]:
    """Compare two answers to one question by what they mean."""
    subject = _route(name)
    if subject in ("merge", "refined", "delta", "ids"):
        try:
            one, other = (canonicalize(answer.body) for answer in (first, second))
        except Exception as error:  # noqa: BLE001 - larger than what may be posted, or damaged
            return False, f"{type(error).__name__}: {error}"
        one, other = (replace(it, header=replace(it.header, comments=())) for it in (one, other))
        if one == other:
            return True, ""
        samples = one.samples.keys() ^ other.samples.keys()
        values = [
            key for key in one.samples.keys() & other.samples.keys() if one.samples[key] != other.samples[key]
        ]
        return False, (
            f"headers {one.header} and {other.header}; {len(samples)} samples in one only, {len(values)} with"
            f" other values, as {[(one.samples[key], other.samples[key]) for key in values[:3]]}"
        )
    if subject == "get":
        return False, f"{len(first.body)} and {len(second.body)} bytes"
    paths: _Paths = {}
    documents = [_document(subject, answer, paths) for answer in (first, second)]
    return documents[0] == documents[1], f"{documents[0]}"[:1500] + "\nand\n" + f"{documents[1]}"[:1500]


_Paths = dict[tuple[int, str], int]  # the number of a path by the number of its parent and its last function


def _document(route: str, answer: Answer, paths: _Paths) -> Any:
    """Return the JSON of *answer*, without what has no meaning; *paths* are those of the other answer, too."""
    document = json.loads(gzip.decompress(answer.body) if answer.body[:2] == b"\x1f\x8b" else answer.body)
    if route != "flame":
        return document
    body = document["body"]
    functions, nodes = body.pop("functions"), body.pop("nodes")
    numbers = [0]
    for parent, function in list(zip(nodes["parent"], nodes["function"], strict=True))[1:]:
        name = functions["name"][function] if function >= 0 else "other"
        numbers.append(paths.setdefault((numbers[parent], name), len(paths) + 1))
    if functions["count"] == len(functions["name"]) and -1 not in nodes["function"][1:]:  # what is folded may tie
        tree = Counter[tuple[int, int]]()  # one name may have several files
        for side, values in enumerate(nodes["values"]):
            for path, value in zip(numbers, values, strict=True):
                tree[side, path] += value
        body["tree"] = tree
    return document


def _route(name: str) -> str:
    return name.partition(" ")[0]


def _snapshot(root: Path, service: str) -> dict[Path, tuple[bytes, bytes]]:
    """Return the content and the metadata of all files of *service*."""
    files = [*object_files(root, service), *block_files(root, service)]
    contents = {}
    for file in files:
        contents[file] = file.read_bytes(), read_metadata(file)
    return contents


def _numbered_time(number: int, batch: int) -> int:
    """Return the time of a numbered profile: those of a *batch* are seconds apart."""
    return DAY_BEGIN + (number - number % batch) * _HOUR // 5 + number % batch * SECOND


def _intact(
    before: Mapping[Path, tuple[bytes, bytes]],
    after: Mapping[Path, tuple[bytes, bytes]],
    ids: Mapping[str, int],
    batch: int,
) -> set[int]:
    """Return the numbers of the profiles that no damaged file holds, nor a damaged part of a batch."""
    touched = [file for file, content in before.items() if after.get(file) != content]
    numbers = set(ids.values())
    for file in touched:
        if file.suffix == ".block":
            metadata = json.loads(before[file][1])
            first, last = int(metadata["first"]), int(metadata["last"])
            numbers -= {number for number in numbers if first <= _numbered_time(number, batch) <= last}
        elif file.suffix == ".batch":
            old, new = before[file][0], after.get(file, (b"", b""))[0]
            for meta in decode_table(f"{file.parent.parent.name}/batch/{file.name}", old):
                _, begin, end = range_of_profile(meta)
                if old[begin:end] != new[begin:end]:
                    numbers.discard(ids.get(meta.id, -1))
        else:
            stem = file.name.removesuffix(".pb.gz")
            numbers -= {number for profile_id, number in ids.items() if profile_id.endswith(stem)}
    return numbers


def _traceback_signature(text: str) -> str:
    """Return the exception of the first traceback in *text* and the last function of the project on its stack."""
    for line in text.splitlines():
        if line.startswith("{") and "Traceback" in line:
            with suppress(ValueError):
                text = json.loads(line).get("stack_trace", text)
                break
    lines = text[text.find("Traceback") :].splitlines()
    error = next((line for line in lines if _EXCEPTION.match(line)), "?")
    places = [match for line in lines if (match := _PLACE.search(line))]
    place = f"{places[-1][1]} {places[-1][2]}" if places else "?"
    return f"{error.partition(':')[0].rpartition('.')[2]} in {place}"


_EXCEPTION = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*(: |$)")
_PLACE = re.compile(r'/((?:profbucket|storage_[a-z0-9]+|functions)/[^"]*)", line \d+, in (.*)')


def fuzz(seconds: float, seed: str, out: Path, *, only: int | None = None, keep_going: bool = False) -> int:
    """Run rounds for *seconds*, or the round *only*; return the number of different failures."""
    signatures = Counter[str]()
    with (
        TemporaryDirectory(prefix="profbucket-fuzz-") as temporary,
        Fuzzer(Path(temporary), seed).running() as fuzzer,
    ):
        end = time.monotonic() + seconds
        number = only or 0
        while time.monotonic() < end and (keep_going or not signatures):
            report = fuzzer.run_round(number)
            for finding in report.findings:
                signatures[finding.signature] += 1
                if signatures[finding.signature] == 1:
                    folder = _write_reproducer(
                        out / f"{seed}-{number}-{len(signatures)}", fuzzer, number, report, finding
                    )
                    print(f"FAILED seed {seed!r} round {number} step {finding.step!r}")
                    shown = finding.detail[-400:] if "Traceback" in finding.detail else finding.detail[:400]
                    print(f"  {finding.signature}: {shown!r}\n  reproducer: {folder}", flush=True)
            if report.findings and keep_going:
                fuzzer.restart()
            if only is not None:
                break
            number += 1
        for name, count in sorted(fuzzer.counts.items()):
            print(f"{name}: {count}")
        print(f"slowest answer of /healthz: {fuzzer.slowest_health:.2f} s")
    for signature, count in signatures.most_common():
        print(f"{count} times: {signature}")
    print(f"seed {seed!r}: {len(signatures)} different failures")
    return len(signatures)


def _write_reproducer(folder: Path, fuzzer: Fuzzer, number: int, report: Report, finding: Finding) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = [
        f"python -m tests.soak.fuzz --seed {fuzzer.seed} --round {number}",
        f"claim: {finding.signature}",
        f"step: {finding.step}",
        *report.notes,
        "requests/ holds what was sent, in order: nc localhost PORT <requests/0001.http",
        finding.detail,
    ]
    (folder / "finding.txt").write_text("\n".join(text) + "\n")
    (folder / "requests").mkdir(exist_ok=True)
    for i, request in enumerate(report.requests):
        (folder / "requests" / f"{i:04}.http").write_bytes(request)
    kept = fuzzer.root.parent / "kept"
    if kept.exists():
        shutil.copytree(kept, folder / "storage", dirs_exist_ok=True)
    return folder


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", default=secrets.token_hex(4))
    parser.add_argument("--round", type=int, help="run this round only")
    parser.add_argument("--keep-going", action="store_true", help="go on after a failure, and list all")
    parser.add_argument("--out", type=Path, default=Path(gettempdir()) / "profbucket-fuzz-findings")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and end the processes
    found = fuzz(options.seconds, options.seed, options.out, only=options.round, keep_going=options.keep_going)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
