"""Rounds that post mutated profiles, alone and in batches."""

from collections.abc import Sequence
from random import Random

from tests.soak.fuzz.batch_mutations import make_part, mutated_batch
from tests.soak.fuzz.checks import check_same
from tests.soak.fuzz.profile_mutations import (
    bomb,
    compress,
    mutated_bytes,
    mutated_profile,
    real_profiles,
    real_traces,
)
from tests.soak.fuzz.questions import list_questions
from tests.soak.fuzz.request_mutations import mutated_post
from tests.soak.fuzz.session import Session

_READ_TYPES = ("cpu", "heap", "goroutine")


def fuzz_posts(session: Session, random: Random, number: int) -> None:
    """Post mutated profiles with mutated requests, read them, compact, reindex, and compare the answers."""
    service = f"posts-{number}"
    accepted: dict[str, tuple[str, bytes]] = {}
    profiles = real_profiles()
    wanted = random.sample(_READ_TYPES, 2)
    for post_number in range(random.choice((12, 24, 40))):
        session.step = f"post {post_number}"
        profile_type, raw = random.choice([pair for pair in profiles if pair[0] in wanted])
        roll = random.random()
        if roll < 0.02:
            body = bomb(random)
        elif roll < 0.07:
            profile_type, body = "trace", mutated_bytes(random, random.choice(real_traces()))
        else:
            body = compress(random, mutated_profile(random, raw))
        post = mutated_post(random, service, profile_type, f"v={random.randrange(3)}", body)
        answer = session.send(post.data(), truncated=post.truncated, well_formed=post.is_well_formed)
        session.counts[f"posts answered {answer.status}"] += 1
        if answer.status == 200 and answer.body.startswith(b"{"):
            meta = answer.json()["body"]
            if meta["service"] == service:
                accepted[meta["id"]] = meta["type"], body if post.is_stored_unchanged else b""
    for profile_id, (_, body) in accepted.items():
        session.step = f"get {profile_id}"
        answer = session.ask("get", f"/api/0/profiles/{profile_id}", {})
        if answer.status != 200 or (body and answer.body != body):
            session.fail("an accepted profile is not returned as it was posted", f"{answer}")
    types = sorted({profile_type for profile_type, _ in accepted.values()} - {"trace"})
    _compact_and_compare(session, random, service, types, list(accepted))


def fuzz_batches(session: Session, random: Random, number: int) -> None:
    """Post batches of mutated profiles in mutated forms, read, compact, reindex, and compare the answers."""
    service = f"batches-{number}"
    accepted: dict[str, str] = {}
    profiles = real_profiles()
    for post_number in range(random.choice((4, 8))):
        session.step = f"batch {post_number}"
        parts = []
        for _ in range(random.choice((1, 3, 8))):
            profile_type, raw = random.choice(profiles)
            body = bomb(random) if random.random() < 0.02 else compress(random, mutated_profile(random, raw))
            parts.append(make_part(service, profile_type, f"v={random.randrange(3)}", body))
        answer = session.send(mutated_batch(random, parts), well_formed=False)
        session.counts[f"batches answered {answer.status}"] += 1
        if answer.status not in (200, 207, 400, 413, 415, 503):
            session.fail(f"post: a batch is answered {answer.status}", f"{answer}")
        outcomes = answer.json().get("body", []) if answer.body else []
        codes = {outcome["code"] for outcome in outcomes}
        if (answer.status == 200) != (codes == {200}) or (answer.status == 207) != (
            200 in codes and len(codes) > 1
        ):
            session.fail("post: the status is not that of the parts", f"{answer.status} for {codes}")
        for meta in (outcome["body"] for outcome in outcomes if outcome["code"] == 200):
            if meta["service"] == service:
                accepted[meta["id"]] = meta["type"]
    for profile_id in accepted:
        session.step = f"get {profile_id}"
        if session.ask("get", f"/api/0/profiles/{profile_id}", {}).status != 200:
            session.fail("an accepted profile of a batch is not found", profile_id)
    types = sorted({*accepted.values()} - {"trace"})
    _compact_and_compare(session, random, service, types, list(accepted))


def _compact_and_compare(
    session: Session, random: Random, service: str, types: Sequence[str], ids: Sequence[str]
) -> None:
    """Compact and reindex *service*, compare the answers, and remove it."""
    questions = list(list_questions(random, service, types, ids))
    own = ("--storage", session.url, "--service", service)
    before = session.ask_all(questions, "before compaction")
    session.command("fsck", *own, codes=(0,))
    session.command("compact", *own, codes=(0,))
    session.report.findings += check_same(before, session.ask_all(questions, "after compaction"), "compaction")
    session.command("reindex", *own, codes=(0,))
    session.command("fsck", *own, codes=(0,))
    session.report.findings += check_same(before, session.ask_all(questions, "after reindex"), "reindex")
    session.read_by_commands(service, types)
    session.clear([service])
