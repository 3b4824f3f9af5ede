"""The architecture: each package imports only what its row of the table allows. See docs/design.md."""

import ast
import sys
from collections.abc import Iterator, Mapping, Sequence

import pytest

from tests.support.paths import ROOT

PROJECT = ("profbucket", "functions", "storage_gcs", "storage_local", "storage_s3")

BASE = ("errors", "times", "limits", "periods")

# The project's modules that a package may import in addition to its own. The row with the longest matching name
# applies. Names in the values are relative to profbucket.
TABLE: Mapping[str, Sequence[str]] = {
    "profbucket": ("__version__",),
    "profbucket.__main__": ("cli",),
    "profbucket.errors": (),
    "profbucket.times": ("errors",),
    "profbucket.limits": ("errors",),
    "profbucket.periods": ("errors",),
    "profbucket.timed_http": (),
    "profbucket.auth": ("errors",),
    "profbucket.config": (*BASE, "auth", "model", "storage"),
    "profbucket.model": BASE,
    "profbucket.agent": ("errors", "limits", "model", "timed_http"),
    "profbucket.pprof": ("errors", "limits", "model"),
    "profbucket.pprof.merge": (
        "errors",
        "limits",
        "model",
        "pprof.compression",
        "pprof.columnar",
        "pprof.report.prune",
        "pprof.sample_type_sets",
    ),
    "profbucket.pprof.difference": ("limits", "pprof.codec", "pprof.merge", "pprof.numbers"),
    "profbucket.pprof.refine": (
        "limits",
        "model",
        "pprof.codec",
        "pprof.merge",
        "pprof.report.refiner",
    ),
    "profbucket.pprof.small_merge": (
        "errors",
        "limits",
        "pprof.codec",
        "pprof.compression",
        "pprof.numbers",
        "pprof.profile_pb2",
        "pprof.wire",
    ),
    "profbucket.pprof.two_process_merge": (
        "errors",
        "limits",
        "pprof.compression",
        "pprof.columnar",
        "pprof.merge",
    ),
    "profbucket.pprof.columnar": (
        "errors",
        "limits",
        "pprof.codec",
        "pprof.compression",
        "pprof.numbers",
        "pprof.precheck",
        "pprof.stream_pb2",
        "pprof.units",
        "pprof.wire",
    ),
    "profbucket.pprof.block": (
        "errors",
        "limits",
        "model",
        "pprof.compression",
        "pprof.columnar",
        "pprof.merge",
        "pprof.numbers",
        "pprof.report.prune",
        "pprof.wire",
    ),
    "profbucket.pprof.aggregate": (
        "errors",
        "limits",
        "pprof.block",
        "pprof.columnar",
        "pprof.compression",
        "pprof.merge",
        "pprof.report.prune",
    ),
    "profbucket.pprof.export": (
        "limits",
        "model",
        "pprof.codec",
        "pprof.numbers",
        "pprof.profile_pb2",
        "pprof.report",
        "pprof.units",
    ),
    "profbucket.pprof.report": (
        "errors",
        "limits",
        "model",
        "pprof.codec",
        "pprof.numbers",
        "pprof.profile_pb2",
        "pprof.units",
        "pprof.columnar.arrays",
    ),
    "profbucket.storage": (*BASE, "model", "pprof.block.container"),
    "profbucket.samples": (*BASE, "model", "pprof", "storage"),
    "profbucket.ingest": (*BASE, "model", "pprof", "storage"),
    "profbucket.query": (*BASE, "model", "pprof", "storage"),
    "profbucket.grafana": (*BASE, "model", "pprof", "query", "storage.ports", "storage.retry", "telemetry"),
    "profbucket.maintenance": (*BASE, "model", "pprof", "samples", "storage"),
    "profbucket.scrape": (*BASE, "model", "timed_http"),
    "profbucket.telemetry": ("model",),
    "profbucket.api": (
        *BASE,
        "__version__",
        "auth",
        "config",
        "model",
        "ingest",
        "query",
        "grafana",
        "maintenance",
        "telemetry",
        "storage.ports",
    ),
    "profbucket.http_server": ("errors", "api"),
    "profbucket.cli": ("",),
    "storage_gcs": ("errors", "times", "model", "storage.ports", "storage.prefetch", "storage.per_process"),
    "storage_local": ("errors", "times", "model", "storage.ports"),
    "storage_s3": ("errors", "times", "model", "storage.ports", "storage.prefetch", "storage.per_process"),
    "functions": (
        *BASE,
        "config",
        "model",
        "api",
        "ingest",
        "query",
        "maintenance",
        "scrape",
        "storage",
        "telemetry",
    ),
}

# Libraries, and the only packages that import them.
LIBRARIES: Mapping[Sequence[str], Sequence[str]] = {
    ("google.protobuf", "google._upb"): ("profbucket.pprof", "profbucket.ingest", "profbucket.grafana"),
    ("httptools",): ("profbucket.http_server",),
    ("isal",): ("profbucket.pprof", "profbucket.ingest", "profbucket.api"),
    ("lz4",): ("profbucket.ingest",),
    ("numpy",): (
        "profbucket.pprof.columnar",
        "profbucket.pprof.aggregate",
        "profbucket.pprof.block",
        "profbucket.pprof.export",
        "profbucket.pprof.report",
        "profbucket.samples",
    ),
    ("pyarrow", "duckdb", "fsspec"): ("profbucket.samples",),
    (
        "google.api_core",
        "google.auth",
        "google.cloud",
        "google.oauth2",
        "google_crc32c",
        "boto3",
        "botocore",
        "s3transfer",
    ): ("storage_gcs", "storage_s3"),
}

# Packages and modules for every Python program: they import no library at all. RE2 compiles matchers in the
# collector.
STANDARD_LIBRARY_ONLY = (
    *(f"profbucket.{name}" for name in (*BASE, "auth", "config", "timed_http", "model", "agent", "scrape")),
    "storage_local",
)
EXCEPT = {"profbucket.model.regex": "re2"}

# A backend by its scheme, a command by its name.
LOADS_BY_NAME = ("profbucket.storage.open", "profbucket.cli.main")

# The settings of a collector, and of the agent.
SETTINGS = ("profbucket.config", "profbucket.agent.settings")
PASS_THE_ENVIRONMENT = ("functions.main",)
ENVIRONMENT = ("os.environ", "os.environb", "os.getenv", "os.getenvb")


def violations(sources: Mapping[str, str]) -> list[str]:
    """Return the violations in *sources*, which maps paths to the texts of modules."""
    found = []
    for path, text in sources.items():
        module = path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        tree = ast.parse(text)
        for name in imports(path, tree):
            if name == "*":
                if module not in LOADS_BY_NAME:
                    found.append(f"{path} imports a computed name: only {', '.join(LOADS_BY_NAME)} may")
            elif _within(name, PROJECT):
                if _row(name) != _row(module) and not _within(name, _allowed(module)):
                    found.append(f"{path} imports {name}: its row of the table does not allow that")
            else:
                found += [
                    f"{path} imports {name}: only {', '.join(users)} may"
                    for libraries, users in LIBRARIES.items()
                    if _within(name, libraries) and not _within(module, users)
                ]
                library = name.partition(".")[0]
                known = library in sys.stdlib_module_names or library == EXCEPT.get(module)
                if _within(module, STANDARD_LIBRARY_ONLY) and not known:
                    found.append(f"{path} imports {name}, which is not in the standard library")
        if module not in SETTINGS:
            found += [
                f"{path} reads {name}: only config.py reads settings" for name in _environment(module, path, tree)
            ]
    return found


def imports(path: str, tree: ast.AST) -> Iterator[str]:
    """Yield the full name of every import in a module, also inside functions; ``*`` for a computed name."""
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
                case _:
                    yield "*"


def _row(module: str) -> str:
    """Return the key of *module*'s row in the table."""
    return max((row for row in TABLE if _within(module, (row,))), key=len)


def _allowed(module: str) -> list[str]:
    return [f"profbucket.{name}".removesuffix(".") for name in TABLE[_row(module)]]


def _environment(module: str, path: str, tree: ast.AST) -> Iterator[str]:
    passed = {
        argument
        for node in ast.walk(tree)
        if module in PASS_THE_ENVIRONMENT and isinstance(node, ast.Call) and _name(node.func) == "Config.from_env"
        for argument in node.args
    }
    for node in ast.walk(tree):
        if node not in passed and _name(node) in ENVIRONMENT:
            yield _name(node)
    yield from (name for name in imports(path, tree) if _within(name, ENVIRONMENT))


def _name(node: ast.AST) -> str:
    """Return the text of a dotted name such as ``a.b.c``, or ``""`` for any other expression."""
    match node:
        case ast.Name(name):
            return name
        case ast.Attribute(value, name) if inner := _name(value):
            return f"{inner}.{name}"
    return ""


def _within(name: str, packages: Sequence[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def project_sources() -> dict[str, str]:
    paths = [path for folder in PROJECT for path in (ROOT / folder).rglob("*.py")]
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in paths}


def test_every_import_is_allowed() -> None:
    sources = project_sources()
    assert len(sources) > 60
    assert violations(sources) == []


def test_few_modules_are_directly_in_profbucket() -> None:
    assert len(list((ROOT / "profbucket").glob("*.py"))) <= 10


def test_imports_have_no_cycle() -> None:
    """Including imports inside functions, which would only hide a cycle."""
    sources = project_sources()
    modules = {path.removesuffix(".py").replace("/", ".").removesuffix(".__init__"): path for path in sources}
    graph = {
        module: {
            target
            for name in imports(path, ast.parse(sources[path]))
            if (target := next((m for m in (name, name.rpartition(".")[0]) if m in modules), None))
            and target not in (module, "profbucket")
        }
        for module, path in modules.items()
    }
    done: set[str] = set()

    def walk(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, f"cycle: {' -> '.join((*trail[trail.index(module) :], module))}"
        if module not in done:
            for target in sorted(graph[module]):
                walk(target, (*trail, module))
            done.add(module)

    for module in graph:
        walk(module, ())


# One import for each row that it does not allow.
DISALLOWED = [
    ("profbucket/__init__.py", "import profbucket.errors"),
    ("profbucket/__main__.py", "from profbucket import api"),
    ("profbucket/errors.py", "from profbucket import limits"),
    ("profbucket/times.py", "from profbucket.model import meta"),
    ("profbucket/limits.py", "from profbucket import times"),
    ("profbucket/periods.py", "from profbucket import times"),
    ("profbucket/timed_http.py", "from profbucket import errors"),
    ("profbucket/auth.py", "from profbucket.config import Config"),
    ("profbucket/config.py", "from profbucket.telemetry import logs"),
    ("profbucket/model/meta.py", "from profbucket.storage import ports"),
    ("profbucket/agent/sending.py", "from profbucket.storage import ports"),
    ("profbucket/pprof/codec.py", "from profbucket.api import app"),
    ("profbucket/pprof/merge.py", "from profbucket.pprof.report import top"),
    ("profbucket/pprof/export/dot.py", "from profbucket.pprof import merge"),
    ("profbucket/pprof/difference.py", "from profbucket.pprof.report import top"),
    ("profbucket/pprof/refine.py", "from profbucket.pprof.report import top"),
    ("profbucket/pprof/small_merge/files.py", "from profbucket.pprof import merge"),
    ("profbucket/pprof/two_process_merge.py", "from profbucket.pprof.block import build"),
    ("profbucket/pprof/columnar/batch.py", "from profbucket.pprof import merge"),
    ("profbucket/pprof/block/build.py", "from profbucket.pprof.report import top"),
    ("profbucket/pprof/report/top.py", "from profbucket.pprof.columnar import batch"),
    ("profbucket/storage/store.py", "from profbucket.pprof import codec"),
    ("profbucket/samples/table.py", "from profbucket.query import querier"),
    ("profbucket/ingest/collector.py", "from profbucket.query import querier"),
    ("profbucket/query/querier.py", "from profbucket.maintenance import compactor"),
    ("profbucket/grafana/service.py", "from profbucket.storage import store"),
    ("profbucket/maintenance/repair.py", "from profbucket.ingest import collector"),
    ("profbucket/scrape/scraper.py", "from profbucket.storage import store"),
    ("profbucket/pprof/aggregate/counters.py", "from profbucket.storage import lookup"),
    ("profbucket/telemetry/logs.py", "from profbucket import config"),
    ("profbucket/api/app.py", "from profbucket.storage import store"),
    ("profbucket/http_server/server.py", "from profbucket.config import Config"),
    ("profbucket/cli/main.py", "from functions import main"),
    ("storage_gcs/bucket.py", "from profbucket.storage import store"),
    ("storage_local/bucket.py", "from storage_gcs import http"),
    ("storage_s3/bucket.py", "import profbucket"),
    ("functions/main.py", "from profbucket.cli import commands"),
]

OTHER_VIOLATIONS = [
    ("profbucket/cli/a.py", "def f():\n  from functions import main", "imports functions.main"),
    ("storage_gcs/a.py", "from ..profbucket import api", "imports profbucket.api"),
    ("storage_gcs/a.py", "import_module('profbucket.api')", "imports profbucket.api"),
    ("profbucket/model/labels.py", "import_module('re2')", "imports re2, which is not in the standard library"),
    ("profbucket/agent/a.py", "import requests", "imports requests, which is not in the standard library"),
    ("profbucket/model/labels.py", "import_module(name)", "imports a computed name"),
    ("profbucket/model/labels.py", "importlib.import_module(f'{a}')", "imports a computed name"),
    ("profbucket/query/querier.py", "import numpy as np", "imports numpy: only profbucket.pprof.columnar"),
    ("profbucket/pprof/merge.py", "import numpy as np", "imports numpy: only profbucket.pprof.columnar"),
    ("profbucket/query/querier.py", "from numpy.typing import A", "imports numpy.typing.A: only"),
    ("storage_s3/a.py", "from google.protobuf import message", "imports google.protobuf.message: only"),
    ("profbucket/query/a.py", "import isal", "imports isal: only"),
    ("profbucket/api/a.py", "import httptools", "imports httptools: only"),
    ("profbucket/query/a.py", "import_module('google.cloud.storage')", "imports google.cloud.storage: only"),
    ("profbucket/storage/a.py", "import boto3", "imports boto3: only"),
    ("profbucket/pprof/a.py", "from google import auth", "imports google.auth: only"),
    ("profbucket/api/app.py", "import os\nos.environ['X']", "reads os.environ: only"),
    ("profbucket/api/app.py", "import os\nf(os.getenv('X'))", "reads os.getenv: only"),
    ("storage_gcs/a.py", "from os import environ", "reads os.environ: only"),
    ("functions/main.py", "import os\nX = os.environ.get('X')", "reads os.environ: only"),
    ("profbucket/api/app.py", "import os\nConfig.from_env(os.environ)", "reads os.environ: only"),
    ("profbucket/cli/main.py", "import os\nother(os.environ)", "reads os.environ: only"),
]

ALLOWED = [
    (
        "profbucket/cli/main.py",
        "from profbucket.storage.open import open_storage\nfrom . import options\nimport re",
    ),
    ("profbucket/storage/open.py", "import_module(module)"),
    ("profbucket/model/regex.py", "import_module('re2')"),
    ("profbucket/pprof/codec.py", "from google.protobuf import message\nfrom . import validate"),
    ("profbucket/pprof/report/top.py", "import numpy\nfrom profbucket.pprof.columnar.arrays import Ints"),
    (
        "storage_gcs/a.py",
        "from google.cloud import storage\nimport google.auth\nfrom profbucket.model.meta import Meta",
    ),
    ("storage_s3/a.py", "import boto3\nfrom profbucket.storage import ports\nfrom .b import c"),
    (
        "functions/main.py",
        "import os\nfrom profbucket.api import app\nConfig.from_env(os.environ)\nrequest.environ",
    ),
    ("profbucket/config.py", "import os\nos.environ['X']"),
]


def test_each_row_has_a_disallowed_import() -> None:
    assert sorted(
        {_row(path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")) for path, _ in DISALLOWED}
    ) == sorted(TABLE)


@pytest.mark.parametrize(("path", "text"), DISALLOWED, ids=[path for path, _ in DISALLOWED])
def test_an_import_outside_the_row_is_a_violation(path: str, text: str) -> None:
    [violation] = violations({path: text})
    assert "its row of the table does not allow that" in violation


@pytest.mark.parametrize(("path", "text", "message"), OTHER_VIOLATIONS, ids=lambda value: str(value)[:40])
def test_other_violations(path: str, text: str, message: str) -> None:
    [violation] = violations({path: text})
    assert violation.startswith(f"{path} {message}")


@pytest.mark.parametrize(("path", "text"), ALLOWED, ids=lambda value: str(value)[:40])
def test_allowed_imports(path: str, text: str) -> None:
    assert violations({path: text}) == []
