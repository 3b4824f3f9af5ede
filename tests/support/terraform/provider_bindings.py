"""The schema of a terraform provider, read from the bindings that CDK Terrain generates of it.

The bindings are on PyPI, where a provider is not; they are TypeScript, packed into a wheel. For each resource
there is ``index.d.ts``, whose interfaces say what is required, of which type it is and, in a comment, which
values it takes; and ``index.js``, which says what is a block, how often it may occur and what is computed.

A schema here is what the plugin protocol calls one, as JSON: a *block* has ``attributes`` (``type``,
``required``, ``optional``, ``computed``, ``values``) and ``blocks`` (``nesting``, ``min``, ``max``, ``block``).
Of an attribute that is optional the bindings do not say whether the provider fills it in.
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
    **{f"{name}List": ["list", kind] for name, kind in _SCALARS.items()},
    **{f"{name}Map": ["map", kind] for name, kind in _SCALARS.items()},
    "anyMap": ["map", "dynamic"],
}

# What a class reads a computed attribute with.
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


def read_schema(wheel: Path, wanted: Collection[str]) -> Json:
    """The schema of the provider in *wheel*, of the types that are *wanted*.

    It has ``source``, ``version``, ``provider``, ``resources`` and ``data_sources``. A type is wanted as in
    ``google_storage_bucket`` and ``data.archive_file``. Raise ``LookupError`` for one that there is not.
    """
    with zipfile.ZipFile(wheel) as packed:
        inner = next(name for name in packed.namelist() if name.endswith(".jsii.tgz"))
        package = packed.read(inner)
    about: Json = {}
    modules: dict[str, dict[str, str]] = {}
    folders = {"provider"} | {_folder(name) for name in wanted}
    with tarfile.open(fileobj=io.BytesIO(package)) as files:
        for member in files:
            parts = member.name.split("/")
            if parts[1:] == ["package.json"]:
                about = json.loads(_text(files, member))["cdktf"]["provider"]
            elif len(parts) == 4 and parts[2] in folders and parts[3] in ("index.d.ts", "index.js"):
                modules.setdefault(parts[2], {})[parts[3]] = _text(files, member)
    schema: Json = {"source": about["name"], "version": about["version"], "resources": {}, "data_sources": {}}
    for folder, texts in modules.items():
        kind, block = _Module(texts["index.d.ts"], texts["index.js"]).schema()
        if folder == "provider":
            schema["provider"] = block
        else:
            schema["data_sources" if folder.startswith("data-") else "resources"][kind] = block
    found = {*schema["resources"], *(f"data.{name}" for name in schema["data_sources"])}
    if missing := set(wanted) - found:
        raise LookupError(f"{about['name']} {about['version']} has no {', '.join(sorted(missing))}")
    return schema


def _folder(wanted: str) -> str:
    """Where the bindings have a type: google_storage_bucket in storage-bucket, data.google_project in
    data-google-project."""
    name = wanted.replace("_", "-")
    return f"data-{name.removeprefix('data.')}" if name.startswith("data.") else name.partition("-")[2]


def _text(files: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    content = files.extractfile(member)
    assert content, member.name
    return content.read().decode()


@dataclass(frozen=True, slots=True)
class _Property:
    """A property of an interface: what a person may write."""

    optional: bool
    type: str
    values: list[str] | None


@dataclass(frozen=True, slots=True)
class _Field:
    """How a property is written out."""

    block: bool
    nesting: str
    storage: str


class _Module:
    """The two files of a type, and what can be learned from them."""

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
        """The name of the type and its schema."""
        for name, body in self.classes.items():
            if kind := re.search(r'static tfResourceType = "(\w+)"', body):
                _, written = next(_braced(body, r"(synthesizeHclAttributes)\(\) \{"))
                block = self.block(f"{name}Config", _fields(written), name)
                if "id" in block["attributes"]:
                    block["attributes"]["id"]["computed"] = True
                return kind[1], block
        raise LookupError("no type is in this module")

    def block(self, interface: str, fields: dict[str, _Field], owner: str) -> Json:
        """The schema of a block: what is written of *interface*, and what the class *owner* can be asked for."""
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
                need = "optional" if declared.optional else "required"
                attributes[name] = {"type": self._type(field, struct), need: True}
                if declared.values:
                    attributes[name]["values"] = declared.values
        for name, kind in self._readable(owner):
            if name not in attributes and name not in blocks:
                attributes[name] = {"type": kind, "computed": True}
        return {"attributes": attributes, "blocks": blocks}

    def _struct(self, name: str) -> Json:
        return self.block(name, self.structs.get(name, {}), f"{name}OutputReference")

    def _type(self, field: _Field, struct: str) -> Any:
        """The type of an attribute that is written."""
        if not field.storage:
            return "dynamic"
        simple = _SIMPLE.get(field.storage)
        if simple is None:
            return [field.nesting if field.nesting in ("list", "set") else "list", self._object(struct)]
        return ["set", simple[1]] if field.nesting == "set" else simple

    def _object(self, struct: str) -> Any:
        fields = self.structs.get(struct, {})
        return ["object", {name: self._type(field, struct) for name, field in fields.items()}]

    def _readable(self, owner: str) -> Iterator[tuple[str, Any]]:
        """What the class *owner* can be asked for, with its type."""
        body = self.classes.get(owner, "")
        for getter, name in _GETTER.findall(body):
            yield name, _GETTERS.get(getter, "dynamic")
        for kind, name, is_set in _NESTED.findall(body):
            if kind.startswith("cdktn."):
                yield name, ["map", _MAPS[kind]] if kind in _MAPS else "dynamic"
            else:
                inner = re.sub(r"(OutputReference|List|Map)$", "", kind)
                fields = dict(self._readable(f"{inner}OutputReference"))
                yield name, ["set" if is_set == "true" else "list", ["object", fields]]


def _braced(text: str, opening: str) -> Iterator[tuple[str, str]]:
    """What *opening* captures, and the text from its brace to the one that closes it."""
    for match in re.finditer(opening, text):
        depth = 0
        for brace in re.finditer(r"[{}]", text[match.end() - 1 :]):
            depth += 1 if brace[0] == "{" else -1
            if depth == 0:
                yield match[1], text[match.end() - 1 : match.end() + brace.start()]
                break


def _properties(body: str) -> Iterator[tuple[str, _Property]]:
    for comment, optional, kind in _PROPERTY.findall(body):
        name = re.search(r"#(\w+) \w+#", comment)
        if not name:
            continue
        prose = " ".join(line.strip(" *") for line in comment.splitlines())
        values = re.search(r"Possible values: (\[[^\]]*\])", prose)
        yield name[1], _Property(bool(optional), " ".join(kind.split()), json.loads(values[1]) if values else None)


def _fields(body: str) -> dict[str, _Field]:
    return {name: _Field(block == "true", nesting, kind) for name, block, nesting, kind in _FIELD.findall(body)}
