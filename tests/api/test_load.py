"""A burst of posts that does not fit in memory: every post is answered, no accepted profile is lost."""

import json
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from profbucket.limits import Limits
from profbucket.model.form import PROFILES_PATH
from profbucket.pprof import deflate, profile_pb2
from tests.support.memory_limit import limit_memory
from tests.support.serving import served

MEMORY_BYTES = 512 << 20
POSTS = 32
BODY_BYTES = 20_000_000


def make_largest_pprof() -> bytes:
    """Return a raw pprof with almost as many entries as the limit allows, which take the most memory to check."""
    rng = random.Random(0)
    depth, count = 20, 20_000
    message = profile_pb2.Profile(
        string_table=[b"", b"cpu", b"nanoseconds"], sample_type=[{"type": 1, "unit": 2}], time_nanos=10**18
    )
    for number in range(1, count + 1):
        message.string_table.append(b"main.f%d" % number)
        message.function.add(id=number, name=number + 2)
        message.location.add(id=number, address=number << 20, line=[{"function_id": number, "line": number}])
    for _ in range((Limits().entries - 300_000) // (depth + 4)):
        message.sample.add(location_id=rng.choices(range(1, count + 1), k=depth), value=[rng.getrandbits(40)])
    return message.SerializeToString()


def pad(raw: bytes, size: int) -> bytes:
    """Return the pprof *raw* padded to *size* bytes with a string that does not compress."""
    tail = profile_pb2.Profile(string_table=[random.Random(0).randbytes(size - len(raw) - 5)])
    return raw + tail.SerializeToString()


@pytest.mark.alone
@pytest.mark.parametrize("program", ["functions-framework", "profbucket"])
def test_a_burst_of_large_posts_is_answered_and_accepted_profiles_are_found(tmp_path: Path, program: str) -> None:
    """32 concurrent posts of 20 MB, alternately raw and compressed, to an instance with 512 MB and 64 threads."""
    raw = make_largest_pprof()
    bodies = (pad(raw, BODY_BYTES), deflate(pad(raw, BODY_BYTES + len(raw) // 2)))
    assert min(map(len, bodies)) >= BODY_BYTES - 10
    with (
        limit_memory(MEMORY_BYTES, tmp_path / "bin") as inside,
        served(
            f"file://{tmp_path}/profiles",
            tmp_path / "log",
            scripts=inside.scripts,
            program=program,
            THREADS="64",
            PROFBUCKET_BLOCK_EVERY="0",
            MALLOC_ARENA_MAX="1",  # as deployed: threads reuse the memory that others have freed
        ) as url,
    ):
        address = urlsplit(url)

        def post(number: int) -> int:
            connection = HTTPConnection(address.hostname or "", address.port, timeout=300)
            with closing(connection):
                path = f"{PROFILES_PATH}?service=big&type=cpu&number={number}"
                connection.request("POST", path, bodies[number % len(bodies)])
                answer = connection.getresponse()
                answer.read()
            assert answer.status == 200 or answer.headers["Retry-After"]
            return answer.status

        with ThreadPoolExecutor(POSTS) as threads:
            answers = list(threads.map(post, range(POSTS)))
        with urlopen(f"{url}{PROFILES_PATH}?service=big&from=0") as response:
            found = json.load(response)["body"]
        assert inside.count_killed() == 0
        assert inside.measure_peak() <= MEMORY_BYTES
    assert set(answers) <= {200, 503}
    accepted = [number for number, status in enumerate(answers) if status == 200]
    assert sorted(int(label["value"]) for profile in found for label in profile["labels"]) == accepted
    assert accepted
