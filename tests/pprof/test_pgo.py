"""``go build -pgo`` accepts a merge of CPU profiles."""

from pathlib import Path

from profbucket.pprof.merge import merge
from tests.support.go_tool import Go, run

PROGRAM = Path(__file__).parents[1] / "programs" / "pgo"


def test_the_go_compiler_inlines_functions_that_are_hot_in_the_merge(go: Go, tmp_path: Path) -> None:
    program = tmp_path / "spin"
    go.run("build", "-trimpath", "-o", str(program), ".", cwd=PROGRAM).check()
    profiles = [tmp_path / f"{i}.pb.gz" for i in range(3)]
    run(str(program), *map(str, profiles)).check()
    merged = tmp_path / "default.pgo"
    merged.write_bytes(merge([profile.read_bytes() for profile in profiles]))

    def build_hot_package(*options: str) -> str:
        """Return the compiler's messages; go build repeats them if the package is in its cache."""
        return go.run("build", *options, "-gcflags=-m=1 -d=pgodebug=1", "./hot", cwd=PROGRAM).check().stderr

    without = build_hot_package("-pgo=off")
    assert "inlining call to Mix" not in without
    with_merge = build_hot_package(f"-pgo={merged}")
    assert "hot-node enabled increased budget" in with_merge
    assert "inlining call to Mix" in with_merge
