"""Imports point inward, and what a room keeps to itself is used in no other: docs/design.md names the rooms."""

import ast
from collections.abc import Iterator, Mapping

import pytest

from tests.support.paths import ROOT

OURS = ("functions", "profbucket", "storage_")
STORAGES_SEE = tuple(
    f"profbucket.{name}" for name in ("ahead", "errors", "kinds", "labels", "meta", "ports", "times")
)
FORMAT = ("google.protobuf", "google._upb", "numpy")
CLOUD = ("google.api_core", "google.auth", "google.cloud", "google.oauth2", "boto3", "botocore", "s3transfer")
SETTINGS = (
    "profbucket/config.py",
    "profbucket/agent/settings.py",
)  # a collector's, and those of a program with the agent
ENVIRONMENT = ("os.environ", "os.environb", "os.getenv", "os.getenvb")


def violations(sources: Mapping[str, str]) -> list[str]:
    """What is against the rules in *sources*, texts of modules by their paths."""
    found = []
    for path, text in sources.items():
        tree = ast.parse(text)
        for name in imports(path, tree):
            if name == "*":
                found.append(
                    f"{path} imports a name that it makes up: only profbucket/storage/store.py loads by name"
                )
            elif _begins(name, OURS) and not _begins(name, _seen_from(path)):
                found.append(f"{path} imports {name}: imports point inward")
            elif _begins(name, FORMAT) and not path.startswith("profbucket/pprof/"):
                found.append(f"{path} imports {name}: the wire format lives in profbucket/pprof")
            elif _begins(name, CLOUD) and not path.startswith(("storage_gcs/", "storage_s3/")):
                found.append(f"{path} imports {name}: cloud libraries live in storage_gcs and storage_s3")
        if path not in SETTINGS:
            found += [f"{path} reads {name}: settings are read in config.py" for name in _environment(path, tree)]
    return found


def imports(path: str, tree: ast.AST) -> Iterator[str]:
    """The full names of all that a module imports, wherever in it; ``*`` for a name that only running it tells."""
    package = path.split("/")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            outer = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join(filter(None, [*outer, node.module]))
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and _name(node.func) in (
            "import_module",
            "importlib.import_module",
            "__import__",
        ):
            match node.args:
                case [ast.Constant(str(name)), *_]:
                    yield name
                case _ if path != "profbucket/storage/store.py":
                    yield "*"


def _seen_from(path: str) -> tuple[str, ...]:
    room = path.split("/", maxsplit=1)[0]
    if room == "functions":
        return ("functions", "profbucket")
    return (room, *STORAGES_SEE) if room.startswith("storage_") else ("profbucket",)


def _environment(path: str, tree: ast.AST) -> Iterator[str]:
    passed = {
        argument
        for node in ast.walk(tree)
        if path in ("functions/main.py", "profbucket/cli/commands.py")
        and isinstance(node, ast.Call)
        and _name(node.func) == "Config.from_env"
        for argument in node.args
    }
    for node in ast.walk(tree):
        if node not in passed and _name(node) in ENVIRONMENT:
            yield _name(node)
    yield from (name for name in imports(path, tree) if _begins(name, ENVIRONMENT))


def _name(node: ast.AST) -> str:
    """``a.b.c`` of such an expression, and ``""`` of any other."""
    match node:
        case ast.Name(name):
            return name
        case ast.Attribute(value, name) if inner := _name(value):
            return f"{inner}.{name}"
    return ""


def _begins(name: str, modules: tuple[str, ...]) -> bool:
    return any(name == one or name.startswith(one if one.endswith("_") else f"{one}.") for one in modules)


def test_every_module_keeps_the_rules() -> None:
    paths = [
        path
        for room in ("functions", "profbucket", "storage_*")
        for folder in ROOT.glob(room)
        for path in folder.rglob("*.py")
    ]
    assert len(paths) > 20
    assert violations({path.relative_to(ROOT).as_posix(): path.read_text() for path in paths}) == []


BAD = [
    ("profbucket/api/app.py", "import storage_local", "imports storage_local: imports point inward"),
    (
        "profbucket/api/app.py",
        "from storage_gcs.bucket import X",
        "imports storage_gcs.bucket.X: imports point inward",
    ),
    (
        "profbucket/cli/commands.py",
        "def f():\n  from functions import main",
        "imports functions.main: imports point inward",
    ),
    ("storage_s3/index.py", "from profbucket import query", "imports profbucket.query: imports point inward"),
    ("storage_s3/index.py", "import profbucket", "imports profbucket: imports point inward"),
    ("storage_s3/index.py", "import profbucket.metadata", "imports profbucket.metadata: imports point inward"),
    ("storage_gcs/a.py", "from storage_local import b", "imports storage_local.b: imports point inward"),
    ("storage_gcs/a.py", "from ..profbucket import api", "imports profbucket.api: imports point inward"),
    ("storage_gcs/a.py", "import_module('profbucket.api.app')", "imports profbucket.api: imports point inward"),
    ("functions/main.py", "import storage_local as x", "imports storage_local: imports point inward"),
    ("profbucket/model/labels.py", "import_module(name)", "imports a name that it makes up"),
    ("profbucket/model/labels.py", "importlib.import_module(f'{a}')", "imports a name that it makes up"),
    ("profbucket/query/querier.py", "import numpy as np", "imports numpy: the wire format lives"),
    ("profbucket/query/querier.py", "from numpy.typing import A", "imports numpy.typing.A: the wire format lives"),
    (
        "storage_local/a.py",
        "from google.protobuf import message",
        "imports google.protobuf.message: the wire format",
    ),
    (
        "profbucket/config.py",
        "import_module('google.cloud.storage')",
        "imports google.cloud.storage: cloud libraries",
    ),
    ("storage_local/a.py", "import boto3", "imports boto3: cloud libraries"),
    ("profbucket/pprof/a.py", "from google import auth", "imports google.auth: cloud libraries"),
    ("profbucket/api/app.py", "import os\nos.environ['X']", "reads os.environ: settings"),
    ("profbucket/api/app.py", "import os\nf(os.getenv('X'))", "reads os.getenv: settings"),
    ("storage_gcs/a.py", "from os import environ", "reads os.environ: settings"),
    ("functions/main.py", "import os\nX = os.environ.get('X')", "reads os.environ: settings"),
    ("profbucket/api/app.py", "import os\nConfig.from_env(os.environ)", "reads os.environ: settings"),
    ("profbucket/cli/commands.py", "import os\nother(os.environ)", "reads os.environ: settings"),
]

GOOD = [
    (
        "profbucket/api/app.py",
        "from profbucket.storage.store import open_storage\nfrom . import query\nimport re, flask",
    ),
    ("profbucket/storage/store.py", "import_module(module)"),
    ("profbucket/model/labels.py", "import_module('re2')"),
    ("profbucket/pprof/merge.py", "import numpy as np\nfrom google.protobuf import message\nfrom . import wire"),
    (
        "storage_gcs/a.py",
        "from google.cloud import storage\nimport google.auth\nfrom profbucket.model.meta import Meta",
    ),
    (
        "storage_s3/a.py",
        "import boto3\nfrom profbucket import ports\nfrom storage_s3.b import c\nfrom .b import c",
    ),
    ("functions/main.py", "import os\nfrom profbucket import api\nConfig.from_env(os.environ)\nrequest.environ"),
    ("profbucket/cli/commands.py", "import os\nConfig.from_env(os.environ)"),
    ("profbucket/config.py", "import os\nos.environ['X']"),
]


@pytest.mark.parametrize(("path", "text", "sentence"), BAD, ids=lambda value: str(value)[:40])
def test_a_module_that_breaks_a_rule_is_seen(path: str, text: str, sentence: str) -> None:
    found = violations({path: text})
    assert len(found) == 1
    assert f"{path} {sentence}" in found[0]


@pytest.mark.parametrize(("path", "text"), GOOD, ids=lambda value: str(value)[:40])
def test_a_module_that_keeps_the_rules_is_left_in_peace(path: str, text: str) -> None:
    assert violations({path: text}) == []
