"""Providers without a cloud: they serve schemas over terraform's plugin protocol and keep what they are told.

``python stub.py DIRECTORY`` serves each schema that is in *DIRECTORY*, at a socket, until its standard input is
closed. It prints what terraform has to be told (``TF_REATTACH_PROVIDERS``) to use them; there is no
need for terraform init then, and no process is started for each of terraform's steps.

They refuse values that a schema does not list, plan and apply as a provider does (what it would only learn from
the cloud is unknown in a plan), and hash archives. They run in an environment of their own, because the package
``tf``, which has the protocol, needs an older protobuf than ours.
"""

import hashlib
import io
import json
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped,unused-ignore]
import msgpack  # type: ignore[import-not-found,unused-ignore]
from tf.gen import tfplugin_pb2 as pb  # type: ignore[import-not-found,unused-ignore]
from tf.gen import tfplugin_pb2_grpc as rpc  # type: ignore[import-not-found,unused-ignore]

UNKNOWN = msgpack.ExtType(0, b"\0")
NAMES = ("name", "account_id", "secret_id", "role_id", "service", "field", "title", "role")


class Stub(rpc.ProviderServicer):  # type: ignore[misc,unused-ignore]
    """The calls of the protocol that a provider without functions and imports is sent."""

    def __init__(self, schema: Any) -> None:
        self.schema = schema

    def GetMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's names, here and below
        return pb.GetMetadata.Response(
            server_capabilities=pb.ServerCapabilities(),
            resources=[pb.GetMetadata.ResourceMetadata(type_name=name) for name in self.schema["resources"]],
            data_sources=[
                pb.GetMetadata.DataSourceMetadata(type_name=name) for name in self.schema["data_sources"]
            ],
        )

    def GetProviderSchema(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.GetProviderSchema.Response(
            provider=_schema(self.schema["provider"]),
            resource_schemas={name: _schema(block) for name, block in self.schema["resources"].items()},
            data_source_schemas={name: _schema(block) for name, block in self.schema["data_sources"].items()},
        )

    def ValidateProviderConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.ValidateProviderConfig.Response()

    def ValidateResourceConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        wrong = _wrong_values(self.schema["resources"][request.type_name], _unpack(request.config), ())
        return pb.ValidateResourceConfig.Response(diagnostics=list(wrong))

    def ValidateDataResourceConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.ValidateDataResourceConfig.Response()

    def ConfigureProvider(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.ConfigureProvider.Response()

    def UpgradeResourceState(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.UpgradeResourceState.Response(upgraded_state=_pack(json.loads(request.raw_state.json)))

    def ReadResource(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.ReadResource.Response(new_state=request.current_state)

    def PlanResourceChange(self, request: Any, context: Any) -> Any:  # noqa: N802
        planned = _unpack(request.proposed_new_state)
        if _unpack(request.prior_state) is None:
            planned = _computed(self.schema["resources"][request.type_name], planned, lambda _name, _kind: UNKNOWN)
        return pb.PlanResourceChange.Response(planned_state=_pack(planned))

    def ApplyResourceChange(self, request: Any, context: Any) -> Any:  # noqa: N802
        state = _unpack(request.planned_state)
        if state is not None:
            called = next((state[name] for name in NAMES if isinstance(state.get(name), str)), "it")
            state = _computed(
                self.schema["resources"][request.type_name],
                state,
                lambda name, kind: _made_up(f"{request.type_name}.{called}.{name}", kind),
            )
        return pb.ApplyResourceChange.Response(new_state=_pack(state))

    def ReadDataSource(self, request: Any, context: Any) -> Any:  # noqa: N802
        state = _unpack(request.config)
        if request.type_name == "archive_file":
            state |= _archive(state["source"])
        return pb.ReadDataSource.Response(state=_pack(state))

    def StopProvider(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.StopProvider.Response()


def _schema(block: Any) -> Any:
    return pb.Schema(version=0, block=_block(block))


def _block(block: Any) -> Any:
    nestings = {name: getattr(pb.Schema.NestedBlock, name.upper()) for name in ("single", "list", "set")}
    return pb.Schema.Block(
        attributes=[
            pb.Schema.Attribute(
                name=name,
                type=json.dumps(attribute["type"]).encode(),
                required=attribute.get("required", False),
                optional=attribute.get("optional", False),
                # The provider may fill in any that is optional: the bindings do not say which.
                computed=attribute.get("computed", False) or attribute.get("optional", False),
            )
            for name, attribute in block["attributes"].items()
        ],
        block_types=[
            pb.Schema.NestedBlock(
                type_name=name,
                nesting=nestings[nested["nesting"]],
                min_items=nested["min"],
                max_items=nested["max"],
                block=_block(nested["block"]),
            )
            for name, nested in block["blocks"].items()
        ],
    )


def _unpack(value: Any) -> Any:
    return msgpack.unpackb(value.msgpack, raw=False, strict_map_key=False)


def _pack(value: Any) -> Any:
    return pb.DynamicValue(msgpack=msgpack.packb(value))


def _inner(block: Any, value: Any) -> Iterator[tuple[str, Any, list[Any]]]:
    """The blocks of *block* that *value* has: a name, a schema and the values."""
    for name, nested in block["blocks"].items():
        inner = value.get(name)
        if nested["nesting"] != "single" and isinstance(inner, list):
            yield name, nested["block"], inner


def _wrong_values(block: Any, value: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """A complaint for each value that is not among those that its attribute takes."""
    for name, attribute in block["attributes"].items():
        given, allowed = value.get(name), attribute.get("values")
        if allowed and isinstance(given, str) and given not in allowed:
            yield pb.Diagnostic(
                severity=pb.Diagnostic.ERROR,
                summary=f"expected {'.'.join((*path, name))} to be one of {allowed}, got {given}",
                attribute=pb.AttributePath(steps=[pb.AttributePath.Step(attribute_name=(*path, name)[0])]),
            )
    for name, nested, inner in _inner(block, value):
        for one in inner:
            yield from _wrong_values(nested, one, (*path, name))


def _computed(block: Any, value: Any, fill: Callable[[str, Any], Any]) -> Any:
    """*value* with what only the cloud can know filled in."""
    filled = dict(value)
    for name, attribute in block["attributes"].items():
        only_computed = attribute.get("computed") and (name == "id" or not attribute.get("optional"))
        if only_computed and filled.get(name) in (None, UNKNOWN):
            filled[name] = fill(name, attribute["type"])
    for name, nested, inner in _inner(block, filled):
        filled[name] = [_computed(nested, one, fill) for one in inner]
    return filled


def _made_up(text: str, kind: Any) -> Any:
    if isinstance(kind, list):
        return {} if kind[0] in ("map", "object") else []
    if text.endswith(".uri"):
        return f"https://{text.removesuffix('.uri').replace('_', '-')}.example"
    return {"string": text, "number": 1, "bool": False}.get(kind)


def _archive(sources: list[dict[str, str]]) -> dict[str, Any]:
    """What is computed of an archive, which is made as the provider makes it: sorted, without times or modes.

    It is not written to its output_path, which is relative to where terraform runs, and that is not here.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for source in sorted(sources, key=lambda source: source["filename"]):
            entry = zipfile.ZipInfo(source["filename"])
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, source["content"])
    data = buffer.getvalue()
    return {
        "id": hashlib.sha1(data).hexdigest(),
        "output_md5": hashlib.md5(data).hexdigest(),
        "output_sha256": hashlib.sha256(data).hexdigest(),
        "output_size": len(data),
    }


def _serve(schema: Any, socket: Path) -> tuple[str, dict[str, Any], grpc.Server]:
    """Serve *schema* at *socket*; gives its provider's name and how to reach it."""
    server = grpc.server(ThreadPoolExecutor(max_workers=8), options=[("grpc.max_receive_message_length", -1)])
    rpc.add_ProviderServicer_to_server(Stub(schema), server)
    server.add_insecure_port(f"unix://{socket}")
    server.start()
    address = {"Network": "unix", "String": str(socket)}
    # Test: terraform does not end us when it is done.
    how = {"Protocol": "grpc", "ProtocolVersion": 6, "Pid": os.getpid(), "Test": True, "Addr": address}
    return schema["source"], how, server


def main() -> None:
    with tempfile.TemporaryDirectory() as sockets:  # a socket's path is short
        paths = sorted(Path(sys.argv[1]).glob("*.json"))
        serving = [_serve(json.loads(path.read_text()), Path(sockets, path.stem)) for path in paths]
        print(json.dumps({source: how for source, how, _ in serving}), flush=True)
        sys.stdin.read()
        for _, _, server in serving:
            server.stop(grace=None).wait()


if __name__ == "__main__":
    main()
