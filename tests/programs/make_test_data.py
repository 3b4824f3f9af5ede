"""Write tests/data anew: run the programs beside this file, and take a profile's symbols away."""

import shutil
import subprocess
import sys
from pathlib import Path

from profbucket.pprof import decode, encode
from tests.support.go_tool import build_shop, find_go, run

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "data"
SETS = 3  # of each version
VERSIONS = {"0.0.1": [], "0.0.2": ["-slow"]}


def main() -> None:
    # The binary's path gets into the profiles: it is the same on every machine.
    work = Path("/tmp/profbucket-test-data")
    work.mkdir()
    try:
        binary = build_shop(find_go(), work)
        for version, flags in VERSIONS.items():
            directory = emptied(DATA / f"shop-{version}")
            run(str(binary), "-count", str(SETS), "-out", str(directory), *flags).check()
            for number in range(2, SETS + 1):
                (directory / f"trace-{number}.trace").unlink()  # one is enough: they are large
    finally:
        shutil.rmtree(work)
    unsymbolized = without_symbols((DATA / "shop-0.0.1" / "cpu-1.pb.gz").read_bytes())
    (DATA / "shop-0.0.1" / "cpu-unsymbolized.pb.gz").write_bytes(unsymbolized)
    subprocess.run([sys.executable, HERE / "make_profiles.py", emptied(DATA / "python")], check=True)


def emptied(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def without_symbols(data: bytes) -> bytes:
    """*data* as a profiler writes it that knows addresses and binaries only."""
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
