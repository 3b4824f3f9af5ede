"""Terraform providers without a cloud: they serve schemas over the plugin protocol and store every change.

``python provider_stub.py DIRECTORY`` serves each schema in *DIRECTORY* at a socket until its standard input is
closed. It prints the value of ``TF_REATTACH_PROVIDERS`` with which terraform uses these providers. Terraform then
needs no init and starts no provider processes.

The providers reject values that a schema does not list, plan and apply as real ones do (values that only the cloud
knows are unknown in a plan), and hash archives. They run in their own virtual environment, because the package
``tf``, which implements the protocol, needs an older protobuf than profbucket.
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
# Attributes whose change makes the provider replace the resource. The schema does not tell.
REPLACING = {"google_firestore_field": "ttl_config"}
NAMES = (
    "name",
    "account_id",
    "secret_id",
    "role_id",
    "repository_id",
    "connection_id",
    "service",
    "field",
    "title",
    "role",
)


class Stub(rpc.ProviderServicer):  # type: ignore[misc,unused-ignore]
    """The calls of the protocol that terraform makes for a provider without functions and imports."""

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
        diagnostics = _invalid_values(self.schema["resources"][request.type_name], _unpack(request.config), ())
        return pb.ValidateResourceConfig.Response(diagnostics=list(diagnostics))

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
            planned = _fill_computed(
                self.schema["resources"][request.type_name], planned, lambda _name, _type: UNKNOWN
            )
        paths = []  # of which Terraform ignores those that have not changed
        if name := REPLACING.get(request.type_name):
            paths.append(pb.AttributePath(steps=[pb.AttributePath.Step(attribute_name=name)]))
        return pb.PlanResourceChange.Response(planned_state=_pack(planned), requires_replace=paths)

    def ApplyResourceChange(self, request: Any, context: Any) -> Any:  # noqa: N802
        state = _unpack(request.planned_state)
        if state is not None:
            resource_name = next((state[name] for name in NAMES if isinstance(state.get(name), str)), "unnamed")
            state = _fill_computed(
                self.schema["resources"][request.type_name],
                state,
                lambda name, type_: _generate(f"{request.type_name}.{resource_name}.{name}", type_),
            )
        return pb.ApplyResourceChange.Response(new_state=_pack(state))

    def ReadDataSource(self, request: Any, context: Any) -> Any:  # noqa: N802
        state = _unpack(request.config)
        if request.type_name == "archive_file":
            state |= _archive(state["source"])
        else:
            state = _fill_computed(
                self.schema["data_sources"][request.type_name],
                state,
                lambda name, type_: _generate(f"{request.type_name}.{state['project_id']}.{name}", type_),
            )
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
    """Yield the name, schema and values of each nested block that *value* has."""
    for name, nested in block["blocks"].items():
        inner = value.get(name)
        if nested["nesting"] != "single" and isinstance(inner, list):
            yield name, nested["block"], inner


def _invalid_values(block: Any, value: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """Yield a diagnostic for each value that its attribute does not allow."""
    for name, attribute in block["attributes"].items():
        actual, allowed = value.get(name), attribute.get("values")
        if allowed and isinstance(actual, str) and actual not in allowed:
            yield pb.Diagnostic(
                severity=pb.Diagnostic.ERROR,
                summary=f"expected {'.'.join((*path, name))} to be one of {allowed}, got {actual}",
                attribute=pb.AttributePath(steps=[pb.AttributePath.Step(attribute_name=(*path, name)[0])]),
            )
    for name, nested, inner in _inner(block, value):
        for item in inner:
            yield from _invalid_values(nested, item, (*path, name))


def _fill_computed(block: Any, value: Any, fill: Callable[[str, Any], Any]) -> Any:
    """Return *value* with the attributes that only the cloud knows set by *fill*, from their name and type."""
    filled = dict(value)
    for name, attribute in block["attributes"].items():
        only_computed = attribute.get("computed") and (name == "id" or not attribute.get("optional"))
        if only_computed and filled.get(name) in (None, UNKNOWN):
            filled[name] = fill(name, attribute["type"])
    for name, nested, inner in _inner(block, filled):
        filled[name] = [_fill_computed(nested, item, fill) for item in inner]
    return filled


def _generate(text: str, type_: Any) -> Any:
    """Return a value of *type_*, which is *text* or derived from it where the type allows."""
    if isinstance(type_, list):
        return {} if type_[0] in ("map", "object") else []
    if text.endswith(".uri"):
        return f"https://{text.removesuffix('.uri').replace('_', '-')}.example"
    return {"string": text, "number": 1, "bool": False}.get(type_)


def _archive(sources: list[dict[str, str]]) -> dict[str, Any]:
    """Return the computed attributes of an archive, made as the provider does: sorted, without times and modes.

    It is not written to its output_path, which is relative to terraform's directory and not to the stub's.
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
    """Serve *schema* at *socket*. Return the provider's name, its address for terraform, and the server."""
    server = grpc.server(ThreadPoolExecutor(max_workers=8), options=[("grpc.max_receive_message_length", -1)])
    rpc.add_ProviderServicer_to_server(Stub(schema), server)
    server.add_insecure_port(f"unix://{socket}")
    server.start()
    address = {"Network": "unix", "String": str(socket)}
    # Test: terraform does not stop the provider when it exits.
    reattach = {"Protocol": "grpc", "ProtocolVersion": 6, "Pid": os.getpid(), "Test": True, "Addr": address}
    return schema["source"], reattach, server


def main() -> None:
    with tempfile.TemporaryDirectory() as sockets:  # the path of a socket must be short
        paths = sorted(Path(sys.argv[1]).glob("*.json"))
        providers = [_serve(json.loads(path.read_text()), Path(sockets, path.stem)) for path in paths]
        print(json.dumps({source: reattach for source, reattach, _ in providers}), flush=True)
        sys.stdin.read()
        for _, _, server in providers:
            server.stop(grace=None).wait()


if __name__ == "__main__":
    main()
