"""A merge of CPU profiles is a profile for ``go build -pgo``."""

from pathlib import Path

from profbucket.pprof.merge import merge
from tests.support.go_tool import Go, run

PROGRAM = Path(__file__).parents[1] / "programs" / "pgo"


def test_the_go_compiler_inlines_what_the_merge_says_is_hot(go: Go, tmp_path: Path) -> None:
    program = tmp_path / "spin"
    go.run("build", "-trimpath", "-o", str(program), ".", cwd=PROGRAM).check()
    profiles = [tmp_path / f"{i}.pb.gz" for i in range(3)]
    run(str(program), *map(str, profiles)).check()
    merged = tmp_path / "default.pgo"
    merged.write_bytes(merge([profile.read_bytes() for profile in profiles]))

    def compiler_says(*options: str) -> str:
        # The package that is hot and nothing else; what the compiler says, go build replays from its cache.
        return go.run("build", *options, "-gcflags=-m=1 -d=pgodebug=1", "./hot", cwd=PROGRAM).check().stderr

    without = compiler_says("-pgo=off")
    assert "inlining call to Mix" not in without
    with_merge = compiler_says(f"-pgo={merged}")
    assert "hot-node enabled increased budget" in with_merge
    assert "inlining call to Mix" in with_merge
