"""Rounds that damage a storage of numbered profiles: objects, batches, blocks, their metadata, and the index."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple
from urllib.parse import urlencode

from profbucket.model.batches import decode_table
from profbucket.model.form import BATCH_PATH, PROFILES_PATH, encode_form
from profbucket.storage.sources import range_of_profile
from profbucket.times import SECOND
from tests.soak.fuzz.checks import check_damaged, check_same
from tests.soak.fuzz.damage import (
    batch_files,
    block_files,
    damage_batch,
    damage_block,
    damage_index,
    damage_metadata,
    damage_object,
    object_files,
)
from tests.soak.fuzz.questions import SINCE, list_questions
from tests.soak.fuzz.session import Session
from tests.soak.http import request_bytes
from tests.soak.numbered import DAY_BEGIN, numbered_profile
from tests.support.storage.local_files import read_metadata

_HOUR = 3600 * SECOND


class _Damage(NamedTuple):
    """Damage to one or two files of a service."""

    list_files: Callable[[Path, str], list[Path]]
    apply: Callable[[Random, Sequence[Path]], str]  # says what was done


_OBJECTS = _Damage(object_files, damage_object)
_BATCHES = _Damage(batch_files, damage_batch)
_BLOCKS = _Damage(block_files, damage_block)
_OBJECT_METADATA = _Damage(object_files, damage_metadata)
_BLOCK_METADATA = _Damage(block_files, damage_metadata)


def fuzz_objects(session: Session, random: Random, number: int) -> None:
    """Damage objects of profiles that are not compacted, or only in part."""
    _fuzz_damage(session, random, number, compacted=random.choice((0, 0, 8)), damages=[_OBJECTS])


def fuzz_stored_batches(session: Session, random: Random, number: int) -> None:
    """Damage objects of batches, and the blocks that they were compacted into."""
    damages = random.choice(([_BATCHES], [_BATCHES, _BLOCKS]))
    _fuzz_damage(session, random, number, compacted=random.choice((0, 8, 16)), damages=damages, batch=4)


def fuzz_blocks(session: Session, random: Random, number: int) -> None:
    """Damage blocks, with the profiles that they were made of or without."""
    _fuzz_damage(session, random, number, compacted=random.choice((8, 16)), damages=[_BLOCKS])


def fuzz_metadata(session: Session, random: Random, number: int) -> None:
    """Damage the metadata of objects and of blocks."""
    every = [_OBJECTS, _BLOCKS, _OBJECT_METADATA, _BLOCK_METADATA]
    damages = random.choice(([_OBJECT_METADATA], [_BLOCK_METADATA], every))
    _fuzz_damage(session, random, number, compacted=random.choice((0, 8, 16)), damages=damages)


def fuzz_index(session: Session, random: Random, number: int) -> None:
    """Damage a copy of the index; then lose it, and rebuild it from the bucket."""
    service = f"index-{number}"
    _post_numbered(session, service, range(12), compact_after=8)
    with session.copy_storage() as copy:
        url = f"file://{copy}"
        session.damaged = True
        for _ in range(random.choice((1, 1, 3))):
            session.report.notes.append(damage_index(random, copy / ".index.sqlite"))
        range_options = ("--service", service, "--type", "cpu", "--from", SINCE)
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
            session.command(*arguments, codes=(0, 1))
        _lose_index(session, copy)
        session.command("reindex", "--storage", url, codes=(0,))
        session.command("fsck", "--storage", url, codes=(0,))
        merged = session.merge_copy(copy, service)
        if merged != set(range(12)):
            session.fail("a reindex without an index does not restore everything", f"{merged}")
    session.damaged = False
    session.clear([service])


def _fuzz_damage(
    session: Session,
    random: Random,
    number: int,
    *,
    compacted: int,
    damages: Sequence[_Damage],
    batch: int = 1,
) -> None:
    """Damage one service, repair it, and check the answers about it and about another.

    Its 16 profiles are posted *batch* at a time; the first *compacted* are compacted before the damage.
    """
    service, healthy = f"damaged-{number}", f"healthy-{number}"
    ids = _post_numbered(session, service, range(16), compact_after=compacted, batch=batch)
    _post_numbered(session, healthy, range(100, 106), compact_after=random.choice((0, 3)))
    if compacted == 16 and random.random() < 0.5:
        for file in object_files(session.root, service):
            file.unlink()  # as a lifecycle does
        session.report.notes.append("raw objects have expired")
        ids = {}
    questions = list(list_questions(random, service, ["cpu"], list(ids)))
    healthy_questions = list(list_questions(random, healthy, ["cpu"], []))
    before = session.ask_all(questions, "before the damage")
    healthy_before = session.ask_all(healthy_questions, "before the damage")
    snapshot = _snapshot(session.root, service)
    session.damaged, is_exact = True, True
    for _ in range(random.choice((1, 1, 2, 4))):
        damage = random.choice(damages)
        files = damage.list_files(session.root, service)
        done = damage.apply(random, files) if files else ""
        session.report.notes.append(done or "nothing to damage")
        # What was edited and looks right is found by reading all of an object, which a merge need not do.
        is_exact = is_exact and not any(word in done for word in ("edited", "inflated", "set "))
    intact = _list_intact(snapshot, _snapshot(session.root, service), ids, batch) if is_exact else None

    def check(stage: str) -> None:
        session.report.findings += check_damaged(before, session.ask_all(questions, stage), intact, stage)
        healthy_after = session.ask_all(healthy_questions, stage)
        session.report.findings += check_same(healthy_before, healthy_after, f"another service, {stage}")

    check("after the damage")
    scope = () if random.random() < 0.6 else ("--service", service)
    for command in random.sample(("fsck", "compact", "reindex", "fsck", "compact"), 5):
        session.command(command, "--storage", session.url, *scope, codes=(0, 1))
    check("after repair")
    session.read_by_commands(service, ["cpu"])
    if random.random() < 0.3:
        with session.copy_storage() as copy:
            _lose_index(session, copy)
            session.command("reindex", "--storage", f"file://{copy}", codes=(0, 1))
            merged = session.merge_copy(copy, healthy)
            if merged != set(range(100, 106)):
                session.fail("damage of one service stops the reindex of another", f"{merged}")
    session.damaged = False
    session.keep_storage(service)
    session.clear([service, healthy])


def _lose_index(session: Session, copy: Path) -> None:
    for file in copy.glob(".index.sqlite*"):
        file.unlink()
    session.step = "after losing the index"


def _post_numbered(
    session: Session, service: str, numbers: Sequence[int], compact_after: int, batch: int = 1
) -> dict[str, int]:
    """Post numbered profiles of three hours, compact after some, and return their numbers by their ids.

    Each *batch* of them is one post.
    """
    ids: dict[str, int] = {}
    for begin in range(0, len(numbers), batch):
        parts, own_numbers = [], numbers[begin : begin + batch]
        session.step = f"post numbered profiles {own_numbers}"
        for i, number in enumerate(own_numbers, begin):
            body = numbered_profile(number, _numbered_time(i, batch), gzip=number % 4 != 0)
            parts.append(({"service": service, "type": "cpu", "labels": f"v={number % 3}"}, body))
        if batch > 1:
            form, content_type = encode_form(parts)
            request = request_bytes("POST", BATCH_PATH, form, {"Content-Type": content_type})
        else:
            [(parameters, body)] = parts
            request = request_bytes("POST", f"{PROFILES_PATH}?{urlencode(parameters)}", body)
        answer = session.send(request)
        assert answer.status == 200, f"a valid post is answered {answer}"
        outcomes = answer.json()["body"] if batch > 1 else [answer.json()]
        ids.update(zip((outcome["body"]["id"] for outcome in outcomes), own_numbers, strict=True))
        if begin + batch == compact_after:
            session.command("compact", "--storage", session.url, "--service", service, codes=(0,))
    return ids


def _numbered_time(number: int, batch: int) -> int:
    """Return the time of a numbered profile: those of a *batch* are seconds apart."""
    return DAY_BEGIN + (number - number % batch) * _HOUR // 5 + number % batch * SECOND


def _snapshot(root: Path, service: str) -> dict[Path, tuple[bytes, bytes]]:
    """Return the content and the metadata of all files of *service*."""
    files = [*object_files(root, service), *block_files(root, service)]
    return {file: (file.read_bytes(), read_metadata(file)) for file in files}


def _list_intact(
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
