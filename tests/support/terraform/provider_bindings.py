"""The schema of a terraform provider, read from the bindings that CDK Terrain generates from it.

Unlike providers, the bindings are on PyPI: TypeScript, packed into a wheel. For each resource, the interfaces in
``index.d.ts`` declare which properties are required, their types and, in a comment, the allowed values;
``index.js`` declares which properties are blocks, how often they may occur and which are computed.

A schema is that of the plugin protocol, as JSON: a *block* has ``attributes`` (``type``, ``required``,
``optional``, ``computed``, ``values``) and ``blocks`` (``nesting``, ``min``, ``max``, ``block``). The bindings do
not tell whether the provider sets an optional attribute.
"""

import io
import json
import re
import tarfile
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]

_SCALARS: dict[str, Any] = {"string": "string", "number": "number", "boolean": "bool"}
_SIMPLE: dict[str, Any] = {
    **_SCALARS,
    **{f"{name}List": ["list", scalar] for name, scalar in _SCALARS.items()},
    **{f"{name}Map": ["map", scalar] for name, scalar in _SCALARS.items()},
    "anyMap": ["map", "dynamic"],
}

# The getters of computed attributes, and their types.
_GETTERS = {
    "getStringAttribute": "string",
    "getNumberAttribute": "number",
    "getBooleanAttribute": "bool",
    "getListAttribute": ["list", "string"],
    "getNumberListAttribute": ["list", "number"],
    "getStringMapAttribute": ["map", "string"],
    "getNumberMapAttribute": ["map", "number"],
    "getBooleanMapAttribute": ["map", "bool"],
    "getAnyMapAttribute": ["map", "dynamic"],
}
_MAPS = {"cdktn.StringMap": "string", "cdktn.NumberMap": "number", "cdktn.BooleanMap": "bool"}

_PROPERTY = re.compile(r"/\*\*((?:(?!\*/).)*)\*/\s*readonly \w+(\?)?: (\{.*?\}(?: \| [\w.]+)?|[^;]+);", re.S)
_FIELD = re.compile(
    r'^\s+"?(\w+)"?: \{\s*value: [^\n]*,\s*isBlock: (true|false),\s*'
    r'(?:type: "(\w+)",\s*)?(?:storageClassType: "(\w+)",)?',
    re.M,
)
_GETTER = re.compile(r"get \w+\(\) \{\s*(?://[^\n]*\s*)?return [^;]*?this\.(get\w+Attribute)\('(\w+)'")
_NESTED = re.compile(r'_\w+ = new ([\w.]+)\(this, "(\w+)"(?:, (true|false))?\)')


def read_schema(wheel: Path, types: Collection[str]) -> Json:
    """Return the schema of the provider in *wheel*, restricted to *types*.

    It has ``source``, ``version``, ``provider``, ``resources`` and ``data_sources``. Types are written as in
    ``google_storage_bucket`` and ``data.archive_file``. Raise ``LookupError`` for an unknown one.
    """
    with zipfile.ZipFile(wheel) as packed:
        inner = next(name for name in packed.namelist() if name.endswith(".jsii.tgz"))
        package = packed.read(inner)
    provider: Json = {}
    modules: dict[str, dict[str, str]] = {}
    folders = {"provider"} | {_folder(name) for name in types}
    with tarfile.open(fileobj=io.BytesIO(package)) as files:
        for member in files:
            parts = member.name.split("/")
            if parts[1:] == ["package.json"]:
                provider = json.loads(_text(files, member))["cdktf"]["provider"]
            elif len(parts) == 4 and parts[2] in folders and parts[3] in ("index.d.ts", "index.js"):
                modules.setdefault(parts[2], {})[parts[3]] = _text(files, member)
    schema: Json = {
        "source": provider["name"],
        "version": provider["version"],
        "resources": {},
        "data_sources": {},
    }
    for folder, texts in modules.items():
        type_name, block = _Module(texts["index.d.ts"], texts["index.js"]).schema()
        if folder == "provider":
            schema["provider"] = block
        else:
            schema["data_sources" if folder.startswith("data-") else "resources"][type_name] = block
    known = {*schema["resources"], *(f"data.{name}" for name in schema["data_sources"])}
    if missing := set(types) - known:
        raise LookupError(f"{provider['name']} {provider['version']} has no {', '.join(sorted(missing))}")
    return schema


def _folder(type_name: str) -> str:
    """Return the folder of a type: storage-bucket for google_storage_bucket, and data-google-project for
    data.google_project."""
    name = type_name.replace("_", "-")
    return f"data-{name.removeprefix('data.')}" if name.startswith("data.") else name.partition("-")[2]


def _text(files: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    content = files.extractfile(member)
    assert content, member.name
    return content.read().decode()


@dataclass(frozen=True, slots=True)
class _Property:
    """A property of an interface: an argument that users may set."""

    optional: bool
    type: str
    values: list[str] | None


@dataclass(frozen=True, slots=True)
class _Field:
    """The serialization of a property in index.js."""

    block: bool
    nesting: str
    storage: str


class _Module:
    """The two files of a type, parsed."""

    def __init__(self, declarations: str, code: str) -> None:
        code = code.partition("//# sourceMappingURL")[0]
        self.interfaces = {
            name: dict(_properties(body))
            for name, body in _braced(declarations, r"export interface (\w+)(?: extends [\w.]+)? \{")
        }
        self.structs = {
            name[0].upper() + name[1:]: _fields(body)
            for name, body in _braced(code, r"function (\w+)ToHclTerraform\(struct\) \{")
        }
        self.classes = dict(_braced(code, r"class (\w+) extends cdktn\.\w+ \{"))

    def schema(self) -> tuple[str, Json]:
        """Return the name of the type and its schema."""
        for name, body in self.classes.items():
            if match := re.search(r'static tfResourceType = "(\w+)"', body):
                _, serialized = next(_braced(body, r"(synthesizeHclAttributes)\(\) \{"))
                block = self.block(f"{name}Config", _fields(serialized), name)
                if "id" in block["attributes"]:
                    block["attributes"]["id"]["computed"] = True
                return match[1], block
        raise LookupError("the module declares no type")

    def block(self, interface: str, fields: dict[str, _Field], owner: str) -> Json:
        """Return the schema of a block: the arguments of *interface*, the computed attributes of class *owner*."""
        properties = self.interfaces.get(interface, {})
        attributes: Json = {}
        blocks: Json = {}
        for name, field in fields.items():
            declared = properties.get(name, _Property(True, "", None))
            struct = declared.type.partition(" | ")[0].removesuffix("[]")
            if name == "timeouts" and field.block:
                struct = f"{interface.removesuffix('Config')}Timeouts"
                blocks[name] = {"nesting": "single", "min": 0, "max": 0, "block": self._struct(struct)}
            elif field.block:
                blocks[name] = {
                    "nesting": "set" if field.nesting == "set" else "list",
                    "min": 0 if declared.optional else 1,
                    "max": 0 if "[]" in declared.type else 1,
                    "block": self._struct(struct),
                }
            else:
                presence = "optional" if declared.optional else "required"
                attributes[name] = {"type": self._type(field, struct), presence: True}
                if declared.values:
                    attributes[name]["values"] = declared.values
        for name, type_ in self._computed(owner):
            if name not in attributes and name not in blocks:
                attributes[name] = {"type": type_, "computed": True}
        return {"attributes": attributes, "blocks": blocks}

    def _struct(self, name: str) -> Json:
        return self.block(name, self.structs.get(name, {}), f"{name}OutputReference")

    def _type(self, field: _Field, struct: str) -> Any:
        """Return the type of an argument."""
        if not field.storage:
            return "dynamic"
        simple = _SIMPLE.get(field.storage)
        if simple is None:
            return [field.nesting if field.nesting in ("list", "set") else "list", self._object(struct)]
        return ["set", simple[1]] if field.nesting == "set" else simple

    def _object(self, struct: str) -> Any:
        fields = self.structs.get(struct, {})
        return ["object", {name: self._type(field, struct) for name, field in fields.items()}]

    def _computed(self, owner: str) -> Iterator[tuple[str, Any]]:
        """Yield the name and type of each attribute that the class *owner* has a getter for."""
        body = self.classes.get(owner, "")
        for getter, name in _GETTER.findall(body):
            yield name, _GETTERS.get(getter, "dynamic")
        for class_name, name, is_set in _NESTED.findall(body):
            if class_name.startswith("cdktn."):
                yield name, ["map", _MAPS[class_name]] if class_name in _MAPS else "dynamic"
            else:
                inner = re.sub(r"(OutputReference|List|Map)$", "", class_name)
                fields = dict(self._computed(f"{inner}OutputReference"))
                yield name, ["set" if is_set == "true" else "list", ["object", fields]]


def _braced(text: str, opening: str) -> Iterator[tuple[str, str]]:
    """Yield the group that *opening* captures, and the text from its brace to the matching one."""
    for match in re.finditer(opening, text):
        depth = 0
        for brace in re.finditer(r"[{}]", text[match.end() - 1 :]):
            depth += 1 if brace[0] == "{" else -1
            if depth == 0:
                yield match[1], text[match.end() - 1 : match.end() + brace.start()]
                break


def _properties(body: str) -> Iterator[tuple[str, _Property]]:
    for comment, optional, type_ in _PROPERTY.findall(body):
        name = re.search(r"#(\w+) \w+#", comment)
        if not name:
            continue
        prose = " ".join(line.strip(" *") for line in comment.splitlines())
        values = re.search(r"Possible values: (\[[^\]]*\])", prose)
        yield (
            name[1],
            _Property(bool(optional), " ".join(type_.split()), json.loads(values[1]) if values else None),
        )


def _fields(body: str) -> dict[str, _Field]:
    return {
        name: _Field(block == "true", nesting, storage) for name, block, nesting, storage in _FIELD.findall(body)
    }
