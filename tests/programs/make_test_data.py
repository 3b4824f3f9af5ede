"""Regenerate tests/data: run the programs in this folder, and strip the symbols of one profile."""

import shutil
import subprocess
import sys
from pathlib import Path

from profbucket.pprof import decode, encode
from tests.support.go_tool import build_shop, find_go, run

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "data"
SETS = 3  # per version
VERSIONS = {"0.0.1": [], "0.0.2": ["-slow"]}


def main() -> None:
    # The profiles contain the binary's path, which must be the same on every machine.
    work = Path("/tmp/profbucket-test-data")
    work.mkdir()
    try:
        binary = build_shop(find_go(), work)
        for version, flags in VERSIONS.items():
            directory = empty_directory(DATA / f"shop-{version}")
            run(str(binary), "-count", str(SETS), "-out", str(directory), *flags).check()
            for number in range(2, SETS + 1):
                (directory / f"trace-{number}.trace").unlink()  # traces are large; one is enough
    finally:
        shutil.rmtree(work)
    unsymbolized = strip_symbols((DATA / "shop-0.0.1" / "cpu-1.pb.gz").read_bytes())
    (DATA / "shop-0.0.1" / "cpu-unsymbolized.pb.gz").write_bytes(unsymbolized)
    subprocess.run([sys.executable, HERE / "make_profiles.py", empty_directory(DATA / "python")], check=True)


def empty_directory(directory: Path) -> Path:
    """Create *directory*, or remove its contents."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def strip_symbols(data: bytes) -> bytes:
    """Return *data* as a profiler writes it that has only addresses and mappings."""
    message = decode(data).message
    texts = list(message.string_table)
    gone = {i for f in message.function for i in (f.name, f.system_name, f.filename)}
    for location in message.location:
        del location.line[:]
    del message.function[:]
    for mapping in message.mapping:
        mapping.has_functions = mapping.has_filenames = mapping.has_line_numbers = False
        mapping.has_inline_frames = False
        gone.discard(mapping.filename)
    message.string_table[:] = [b"" if i in gone else text for i, text in enumerate(texts)]
    return encode(message)


if __name__ == "__main__":
    main()
