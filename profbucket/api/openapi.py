"""The OpenAPI document of a collector, from the template openapi.json.

The template describes operations and the classes of their errors. This module adds the paths of the operations,
the HTTP statuses of the errors, and the values of ``${placeholders}``, such as limits.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from profbucket import __version__
from profbucket.api.routes import Route
from profbucket.config import Config
from profbucket.errors import ProfbucketError
from profbucket.model.profile_type import COMMON_TYPES
from profbucket.query.postprocessing import DEFAULT_DOT_NODES, DEFAULT_NODES
from profbucket.query.querier import DEFAULT_LIMIT
from profbucket.times import FORMS

Json = dict[str, Any]

_TEMPLATE = Path(__file__).with_name("openapi.json")
_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")
_ERROR_CLASSES = {cls.__name__: cls for cls in ProfbucketError.__subclasses__()}
_ERROR_HEADERS = {401: "WWW-Authenticate", 405: "Allow", 503: "Retry-After"}  # by status


def render(config: Config, routes: Sequence[Route]) -> str:
    """Return the document, as JSON, of a collector that answers *routes*."""
    template: Json = json.loads(_TEMPLATE.read_text(encoding="utf-8"))
    operations, errors = template.pop("operations"), template.pop("errors")
    template["paths"] = _paths(routes, operations, template.pop("pathParameters"), errors)
    if not config.keys:
        template["security"] = []
        template["components"]["securitySchemes"] = {}
    return json.dumps(_fill(template, _values(config)))


def _values(config: Config) -> Json:
    """Return the values of the placeholders."""
    return {
        "version": __version__,
        "time_forms": FORMS,
        "profile_types": ", ".join(COMMON_TYPES),
        "default_find_limit": DEFAULT_LIMIT,
        "default_flame_nodes": DEFAULT_NODES,
        "default_dot_nodes": DEFAULT_DOT_NODES,
        **{f"max_{name}": value for name, value in asdict(config.limits).items()},
    }


def _paths(routes: Iterable[Route], operations: Json, path_parameters: Json, errors: Mapping[str, str]) -> Json:
    """Return a path item for each path of *routes*. An operation's id belongs to its first path only."""
    paths: Json = {}
    ids = set()
    for route in routes:
        path = re.sub(r"<(?:path:)?(\w+)>", r"{\1}", route.path)
        item = paths.setdefault(path, {})
        if names := re.findall(r"{(\w+)}", path):
            item["parameters"] = [_path_parameter(name, path_parameters[name]) for name in names]
        operation = dict(operations[route.operation])
        error_names, error_schema = operation.pop("errors", []), operation.pop("errorSchema", "Error")
        media_types = operation.pop("errorMediaTypes", [])  # in addition to JSON
        operation["responses"] = {
            **operation["responses"],
            **_error_responses(error_names, errors, error_schema, media_types, is_get=route.method == "GET"),
        }
        if route.operation not in ids:
            ids.add(route.operation)
            operation = {"operationId": route.operation, **operation}
        item[route.method.lower()] = operation
    return paths


def _path_parameter(name: str, description: Json) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, **description}


def _error_responses(
    names: Iterable[str],
    descriptions: Mapping[str, str],
    schema: str,
    media_types: Iterable[str],
    *,
    is_get: bool,
) -> Json:
    """Return the responses, by status, to the errors of the classes *names*.

    *schema* is that of their JSON; *media_types* are other encodings, which have no schema.
    """
    others: Json = {media_type: {"schema": {}} for media_type in media_types}
    responses: Json = {}
    for name in names:
        status = _ERROR_CLASSES[name].status
        if str(status) in responses:
            responses[str(status)]["description"] += f" Or: {descriptions[name]}"
            continue
        headers = [_ERROR_HEADERS[status]] if status in _ERROR_HEADERS else []
        headers += ["X-Go-Pprof"] if is_get else []
        responses[str(status)] = {
            "description": descriptions[name],
            **({"headers": {header: _ref("headers", header) for header in headers}} if headers else {}),
            "content": {"application/json": {"schema": _ref("schemas", schema)}, **others},
        }
    return responses


def _ref(section: str, name: str) -> Json:
    return {"$ref": f"#/components/{section}/{name}"}


def _fill(node: Any, values: Json) -> Any:
    """Return *node* with its placeholders replaced; a string that is just one becomes a value of any type."""
    if isinstance(node, dict):
        return {name: _fill(child, values) for name, child in node.items()}
    if isinstance(node, list):
        return [_fill(child, values) for child in node]
    if isinstance(node, str):
        if match := _PLACEHOLDER.fullmatch(node):
            return values[match[1]]
        return _PLACEHOLDER.sub(lambda match: str(values[match[1]]), node)
    return node
