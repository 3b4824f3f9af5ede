"""The generated code is what the .proto files say."""

import sysconfig
from pathlib import Path

import pytest

from profbucket import pprof
from tests.support.go_tool import run

ROOT = Path(pprof.__file__).parents[2]


@pytest.mark.parametrize("name", ["profile", "stream"])
def test_generated_code_is_what_make_proto_would_write(name: str, tmp_path: Path) -> None:
    protoc = Path(sysconfig.get_path("scripts")) / "protoc"
    source = f"profbucket/pprof/{name}.proto"
    run(
        str(protoc), "--proto_path=.", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", source, cwd=ROOT
    ).check()
    for ending in ("py", "pyi"):
        generated = f"profbucket/pprof/{name}_pb2.{ending}"
        assert (tmp_path / generated).read_text() == (ROOT / generated).read_text(), "run make proto"
