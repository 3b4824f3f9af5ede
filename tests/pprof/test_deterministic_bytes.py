"""The bytes of a merge depend on the profiles and their order alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.pprof.merge import Merger, merge
from tests.pprof.test_two_process_merge import run_program
from tests.support.paths import DATA
from tests.support.profiles import (
    Profile,
    Sample,
    encode,
    mixed_profile_sets,
    profile,
    profile_sets,
    stack,
    styles,
)
from tests.support.property_tests import examples

PROGRAM = """
import sys
from pathlib import Path
from profbucket.pprof.merge import merge
sys.stdout.buffer.write(merge(Path(file).read_bytes() for file in sys.argv[1:]))
"""
PATTERNS = ["shop-*/cpu-[123].pb.gz", "shop-*/heap-*.pb.gz", "python/python-cpu.pb.gz"]


def merge_in_process(files: list[Path], hash_seed: str) -> bytes:
    """Return the merge of *files* by a process with this seed of Python's hashes."""
    command = [sys.executable, "-c", PROGRAM, *map(str, files)]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60, env=environment).stdout


@pytest.mark.parametrize("pattern", PATTERNS)
def test_all_processes_write_the_same_bytes(pattern: str) -> None:
    files = sorted(DATA.glob(pattern)) * 2
    merged = merge(file.read_bytes() for file in files)
    assert merge_in_process(files, "1") == merged
    assert merge_in_process(files, "2") == merged
    assert run_program(files) == merged


@examples(25)
@given(profile_sets() | mixed_profile_sets(), st.integers(0, 2**5 - 1), st.data())
def test_the_bytes_do_not_depend_on_the_batches(contents: list[Profile], ends: int, data: st.DataObject) -> None:
    encoded = [encode(content, data.draw(styles)) for content in contents]
    merger = Merger()
    for i, pprof in enumerate(encoded):
        merger.add(pprof)
        if ends >> i & 1:
            merger.flush()
    assert merger.result() == merge(encoded)


def test_the_bytes_do_not_depend_on_the_batch_that_drops_a_sample_type() -> None:
    """In one batch, the first sample has lost its only value before it is added."""
    types = ((b"a", b"count"), (b"b", b"count"))
    both = profile(Sample(stack("x"), (0, 1)), Sample(stack("y"), (1, 0)), sample_types=types)
    one = profile(Sample(stack("x"), (5,)), sample_types=types[:1])
    merger = Merger()
    merger.add(encode(both))
    merger.flush()
    merger.add(encode(one))
    assert merger.result() == merge([encode(both), encode(one)])
