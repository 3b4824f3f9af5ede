"""A storm of kills: processes write, compact and reindex one storage, and are killed at random and started again.

``python -m tests.soak.kill_storm --kills 300 --storage file|gcs [--seed TEXT]``

A collector takes numbered profiles, alone and in batches of several types; ``compact`` and ``reindex`` run all
the time, and a reader merges. Whatever is running is killed with SIGKILL; on the emulators of Cloud Storage and
Firestore, a proxy loses, delays, resets and truncates answers besides. At every moment each merge is exact and
holds everything that was acknowledged, once; a profile that was posted without an acknowledgement is there whole
or not at all. Behind a last ``reindex`` the same holds, and ``fsck`` finds nothing.
"""

import argparse
import os
import secrets
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory, gettempdir

import urllib3

from tests.soak.kill_storm.storm import Storm
from tests.support.emulators import firestore_emulator, gcs_emulator
from tests.support.proxies import Faults, TrafficCounter, firestore_proxy, gcs_proxy

_KILLS_PER_PAUSE = 25
_MEMORY = Path("/dev/shm")


@contextmanager
def directory_storage(directory: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield the URL of a directory, and the environment of the processes."""
    yield f"file://{directory}/profiles", {}


@contextmanager
def emulated_storage(directory: Path, seed: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield the same for emulators of Cloud Storage and Firestore behind proxies that inject faults."""
    number = Random(seed).getrandbits(32)
    common = {"refused": 0.01, "reset": 0.01, "lost": 0.02, "late": 0.01, "delay": 1.0}
    gcs_faults = Faults(**common, cut=0.02, short=0.02, seed=number)  # type: ignore[arg-type]
    firestore_faults = Faults(**common, seed=number + 1)  # type: ignore[arg-type]
    with ExitStack() as stack:
        gcs = stack.enter_context(gcs_emulator(directory / "gcs.log"))
        firestore = stack.enter_context(firestore_emulator(directory / "firestore.log"))
        answer = urllib3.request("POST", f"{gcs}/storage/v1/b?project=_", json={"name": "storm"})
        assert answer.status == 200, answer.data
        environment = {
            "STORAGE_EMULATOR_HOST": stack.enter_context(gcs_proxy(gcs, TrafficCounter(), gcs_faults)),
            "FIRESTORE_EMULATOR_HOST": stack.enter_context(
                firestore_proxy(firestore, TrafficCounter(), firestore_faults)
            ),
        }
        yield "gs://storm?project=storm", environment
        print(f"faults of Cloud Storage: {gcs_faults.injected}\nfaults of Firestore: {firestore_faults.injected}")


def run(kills: int, storage: str, seed: str, *, with_reindex: bool = True) -> int:
    """Run a storm and return its exit code."""
    memory = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with TemporaryDirectory(prefix="profbucket-storm-", dir=memory) as temporary:
        directory = Path(temporary)
        opened = directory_storage(directory) if storage == "file" else emulated_storage(directory, seed)
        begin = time.monotonic()
        with opened as (url, environment), Storm(directory, url, seed, environment).running() as storm:
            storm.with_reindex = with_reindex
            number = 0
            try:
                for number in range(1, kills + 1):
                    storm.kill()
                    if number % _KILLS_PER_PAUSE == 0:
                        storm.check()
                        print(f"{number} kills, {time.monotonic() - begin:.0f} s: {storm.tell()}", flush=True)
                storm.finish()
            except (AssertionError, threading.BrokenBarrierError) as error:
                print(f"FAILED seed {seed!r} storage {storage} after {number} kills: {error!r}\n{error}")
                print(storm.tell())
                kept = Path(gettempdir()) / f"profbucket-storm-{storage}-{seed}"
                shutil.copytree(directory, kept, dirs_exist_ok=True)
                print(f"the storage and the logs are kept in {kept}")
                return 1
        print(
            f"seed {seed!r} storage {storage}: {kills} kills in {time.monotonic() - begin:.0f} s\n{storm.tell()}"
        )
    return 0


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.kill_storm", description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--storage", choices=("file", "gcs"), default="file")
    parser.add_argument("--seed", default=secrets.token_hex(4))
    parser.add_argument("--without-reindex", action="store_true", help="run only fsck during compactions")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and end the processes
    return run(options.kills, options.storage, options.seed, with_reindex=not options.without_reindex)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
