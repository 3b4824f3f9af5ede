"""The generated code and the tags agree with the .proto files."""

import sysconfig
from pathlib import Path

import pytest

from profbucket.pprof import profile_pb2, wire
from tests.support.go_tool import run
from tests.support.paths import ROOT


@pytest.mark.parametrize("source", [str(file.relative_to(ROOT)) for file in ROOT.glob("profbucket/*/*.proto")])
def test_generated_code_is_what_make_proto_writes(source: str, tmp_path: Path) -> None:
    protoc = Path(sysconfig.get_path("scripts")) / "protoc"
    run(
        str(protoc), "--proto_path=.", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", source, cwd=ROOT
    ).check()
    for ending in ("py", "pyi"):
        generated = f"{source.removesuffix('.proto')}_pb2.{ending}"
        assert (tmp_path / generated).read_text() == (ROOT / generated).read_text(), "run make proto"


@pytest.mark.parametrize("message", profile_pb2.DESCRIPTOR.message_types_by_name)
def test_tags_are_those_of_the_format(message: str) -> None:
    fields = profile_pb2.DESCRIPTOR.message_types_by_name[message].fields
    expected = {}
    for field in fields:
        is_scalar = field.type not in (field.TYPE_MESSAGE, field.TYPE_BYTES)
        expected[field.name.upper()] = (
            wire.scalar_tag(field.number) if is_scalar else wire.delimited_tag(field.number)
        )
        if is_scalar and field.is_repeated:
            expected[f"{field.name.upper()}_PACKED"] = wire.delimited_tag(field.number)
    tags = vars(getattr(wire, message))
    # Python 3.13 adds __firstlineno__.
    assert {name: tag for name, tag in tags.items() if isinstance(tag, int) and name.isupper()} == expected
    if "SCALARS" in tags:
        assert tags["SCALARS"] == tuple(tag for tag in expected.values() if tag & 7 == wire.VARINT)
