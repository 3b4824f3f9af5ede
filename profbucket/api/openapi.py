"""The HTTP API as an OpenAPI document: what a collector with these settings takes and answers.

Made from what the code itself goes by (types, caps, the map from errors to statuses), so that it is never another
API's; tests hold all answers against it.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from profbucket import __version__
from profbucket.config import Config
from profbucket.errors import (
    Invalid,
    Misconfigured,
    NotFound,
    NotMergeable,
    PermissionDenied,
    ProfbucketError,
    StoragePermissionError,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unavailable,
)
from profbucket.model.profile_type import ProfileType
from profbucket.query.flamegraph import DEFAULT_NODES
from profbucket.query.querier import DEFAULT_LIMIT
from profbucket.times import FORMS

Json = dict[str, Any]
Statuses = Mapping[type[ProfbucketError], int]

ID = r"[A-Za-z0-9._~-]+/[a-z]+/[0-9]{8}T[0-9]{6}\.[0-9]{9}Z-[0-9a-f]{16}"

# What can go wrong wherever the storage is asked, and wherever a key is.
_STORAGE = (Misconfigured, Unavailable, StoragePermissionError)
_KEY = (Unauthenticated,)
_SCOPE = (*_KEY, PermissionDenied)

_WHY: Mapping[type[ProfbucketError], str] = {
    Invalid: "The request is malformed; sent again it fails again.",
    Unauthenticated: "There is no key, or none that is known.",
    PermissionDenied: "The key has not the scope, or is not for the service.",
    NotFound: "Nothing is there; the sentence says what was looked for.",
    NotMergeable: "Profiles of this type, or without one, cannot be merged.",
    TooLarge: "Over a cap on size; the sentence names it, its value and its setting.",
    TooMany: "Over a cap on a merge; the sentence says what to narrow.",
    Misconfigured: "A setting is wrong; the sentence names it.",
    Unavailable: "Overload, or the storage is away: the same request may succeed later.",
    StoragePermissionError: "The storage refuses the collector.",
}
_HEADERS: Mapping[int, tuple[str, str]] = {
    401: ("WWW-Authenticate", "How to send a key."),
    405: ("Allow", "The methods that are possible."),
    503: ("Retry-After", "Seconds."),
}


def document(config: Config, statuses: Statuses, routes: Collection[tuple[str, str]]) -> Json:
    """The document of a collector that answers *routes*, pairs of method and path, with *statuses* for errors."""
    described = _paths(config, statuses)
    if ("GET", _PAGE_FILE) in routes:  # then the page is at /, not the merge
        described["/"] |= _page()
        described[_PAGE_FILE] = _page_file()
    paths: Json = {}
    for path, operations in described.items():
        if there := {name: one for name, one in operations.items() if (name.upper(), path) in routes}:
            paths[path] = there
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "profbucket",
            "version": __version__,
            "summary": "Continuous profiling in a bucket: pprof in, one merged pprof out.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": _schemas(config), "securitySchemes": _SCHEMES if config.keys else {}},
        "security": [{name: []} for name in _SCHEMES] if config.keys else [],
    }


_PAGE_FILE = "/ui/{name}"


def _page() -> Json:
    """Operations that need no key and say nothing of what is stored."""
    html = {"200": _text("It.", "text/html", {"type": "string"})}
    return {"get": {"operationId": "getPage", "summary": "The web page.", "responses": html, "security": []}}


def _page_file() -> Json:
    error = {"application/json": {"schema": {"$ref": _ref("Error")}}}
    return {
        "get": {
            "operationId": "getPageFile",
            "summary": "What the web page consists of.",
            "parameters": [_in_path("name", "Its name.", {"type": "string"}, "app.js")],
            "responses": {
                "200": {
                    "description": "The file.",
                    "content": {
                        name: {"schema": {"type": "string"}}
                        for name in ("text/html", "text/css", "text/javascript", "image/svg+xml")
                    },
                },
                "404": {
                    "description": "There is no such file.",
                    "headers": _headers({"X-Go-Pprof": "go tool pprof prints the body of an answer that has it."}),
                    "content": error,
                },
            },
            "security": [],
        }
    }


_SCHEMES: Json = {
    "password": {"type": "http", "scheme": "basic", "description": "The key as the password, with any name."},
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
}


def _paths(config: Config, statuses: Statuses) -> Json:
    def operation(
        name: str,
        what: str,
        answers: Json,
        errors: Sequence[type[ProfbucketError]] = (),
        parameters: Sequence[Json] = (),
        *,
        pprof: bool = True,
        **more: Any,
    ) -> Json:
        told = _errors(errors, statuses, pprof=pprof)
        return {
            "operationId": name,
            "summary": what,
            **({"parameters": list(parameters)} if parameters else {}),
            "responses": {**answers, **told},
            **more,
        }

    service = _query("service", "The service.", {"$ref": _ref("Service")}, required=True, example="api")
    kind = _query("type", "What the profiles measure.", {"$ref": _ref("ProfileType")})
    any_type = {"anyOf": [{"$ref": _ref("ProfileType")}, {"enum": ["unknown", ""]}]}
    limit = {"type": "integer", "minimum": 1, "maximum": 999_999_999}
    selection = [
        service,
        _query("from", f"The first moment: {FORMS}.", {"type": "string"}, required=True, example="now-1h"),
        _query("to", "The last moment; without it, now.", {"type": "string"}, example="now"),
        _query(
            "labels",
            "Conditions that all hold, joined by commas: key=value, key!=value, key=~regex, key!~regex. Regular "
            "expressions are RE2's and match the whole value.",
            {"type": "string"},
            example="version=~.*",
        ),
        _others("A label with that value."),
    ]
    posting: Json = {
        "parameters": [
            service,
            {**kind, "required": True, "example": "cpu"},
            _query("labels", "Labels: key=value, joined by commas.", {"type": "string"}, example="version=0.0.1"),
            _query("created_at", f"When it was taken, where it does not say: {FORMS}.", {"type": "string"}),
            _others("A label with that value."),
        ],
        "requestBody": {
            "required": True,
            "description": f"A pprof, gzip or raw, or a Go execution trace; at most {config.limits.body_bytes} B.",
            "content": {"application/octet-stream": {"schema": {}}},
        },
    }
    post_errors = (Invalid, TooLarge, *_SCOPE, *_STORAGE)
    read_errors = (Invalid, NotFound, *_SCOPE, *_STORAGE)
    merge_errors = (*read_errors, NotMergeable, TooLarge, TooMany)
    stored = {"200": _json("It is stored, and found.", {"$ref": _ref("Profile")})}
    merged = {"200": _download("One gzip pprof."), "302": _link()}

    def post(name: str) -> Json:
        return operation(name, "Store a profile.", stored, post_errors, pprof=False, **posting)

    def merge(name: str) -> Json:
        count = _query("limit", "Merge so many, evenly spread over the range.", limit)
        mergeable = _query(
            "type", "What they measure; `trace` cannot be merged.", {"type": "string"}, example="cpu"
        )
        delta = _query(
            "delta",
            "With 1, of counters (alloc_space, delay …) the increase over the range, of each series together.",
            {"enum": ["0", "1"]},
        )
        parameters = [*selection, mergeable, count, delta]
        return operation(name, "Make one profile of all that match.", merged, merge_errors, parameters)

    nodes = {"type": "integer", "minimum": 1, "maximum": config.limits.flame_nodes}
    tree = [
        *selection,
        _query("type", "What they measure; `trace` has no frames.", {"type": "string"}, example="cpu"),
        _query("limit", "Merge so many, evenly spread over the range.", limit),
        _query("sample_type", "Whose values; without it, the profile's default.", {"type": "string"}),
        _query("max_nodes", f"Frames at most, what is smaller is folded; without it {DEFAULT_NODES}.", nodes),
        _query("focus", "A function: what it calls, and what calls it.", {"type": "string"}),
        _query("base_from", "Compare with what this range has; without it, the same `from`.", {"type": "string"}),
        _query("base_to", "Compare with what this range has; without it, the same `to`.", {"type": "string"}),
        _query("base_labels", "Compare with profiles of these labels; without it, the same.", {"type": "string"}),
    ]

    def symbols(name: str, *parameters: Json) -> Json:
        answer = {"200": _text("There are no symbols.", "text/plain", {"const": "num_symbols: 0\n"})}
        what = "Symbols of addresses, which pprof asks for: none."
        return operation(name, what, answer, (), parameters, security=[])

    healthy = {"200": _text("It answers.", "text/plain", {"const": "ok\n"})}
    anywhere = _in_path("path", "Where pprof fetched a profile.", {"type": "string"}, "api/0/profiles")
    return {
        "/api/0/profiles": {
            "post": post("postProfile"),
            "get": operation(
                "findProfiles",
                "Find profiles, oldest first.",
                {
                    "200": _json(
                        "Those that match, and `next` where there are more.",
                        {"type": "array", "items": {"$ref": _ref("Profile")}, "minItems": 1},
                        next={"type": "string", "description": "What to ask for as `page` next."},
                    )
                },
                read_errors,
                [
                    *selection,
                    _query("type", "What they measure; `unknown` is any.", any_type),
                    _query("limit", f"At most so many; without it {DEFAULT_LIMIT}.", limit),
                    _query("page", "The `next` of the answer before.", {"type": "string"}),
                ],
            ),
        },
        "/api/0/profiles/merge": {"get": merge("mergeProfiles")},
        "/merge": {"get": merge("mergeProfilesShort")},
        "/api/0/profiles/{ids}": {
            "get": operation(
                "getProfiles",
                "Fetch a profile as it was posted, or several, joined by +, as one.",
                {"200": _download("The profile."), "302": _link()},
                merge_errors,
                [_in_path("ids", "Ids of profiles.", {"type": "string"}, None)],
            )
        },
        "/api/0/profiles/flame": {
            "get": operation(
                "getFlame",
                "The merge of all that match as a tree of frames, of two selections beside each other.",
                {"200": _json("The tree, and the functions in it.", {"$ref": _ref("Flame")})},
                merge_errors,
                tree,
            )
        },
        "/api/0/labels": {
            "get": operation(
                "listLabels",
                "The types of a service, and its labels with their values.",
                {"200": _json("What there is to choose from.", {"$ref": _ref("Choices")})},
                read_errors,
                [service, _query("type", "Of profiles that measure this.", {"$ref": _ref("ProfileType")})],
            )
        },
        "/api/0/services": {
            "get": operation(
                "listServices",
                "The services that have profiles and that the key may see, sorted.",
                {"200": _json("Their names.", {"type": "array", "items": {"type": "string"}, "minItems": 1})},
                (NotFound, *_SCOPE, *_STORAGE),
            )
        },
        "/api/0/series": {
            "get": operation(
                "getSeries",
                "How much profiles measured, and when: totals added up per step of time and per group of labels.",
                {"200": _json("The sums.", {"$ref": _ref("Timeline")})},
                (*read_errors, TooMany),
                [
                    *selection,
                    _query("type", "What they measure; `unknown` is any.", any_type),
                    _query(
                        "group_by",
                        "Names of labels, joined by commas: a group for each value.",
                        {"type": "string"},
                    ),
                    _query(
                        "step",
                        "How long a step is, in seconds or as in 5m; without it, there are 200 at most.",
                        {"type": "string", "pattern": "^([0-9]*[1-9][0-9]*[smhdw]?)?$"},
                        example="1h",
                    ),
                ],
            )
        },
        "/api/0/version": {
            "get": operation("getVersion", "What runs.", {"200": _json("It.", {"$ref": _ref("Version")})}, _KEY)
        },
        "/api/0/openapi.json": {
            "get": operation(
                "getOpenapi",
                "This document.",
                {"200": _text("It.", "application/json", {"type": "object", "required": ["openapi", "paths"]})},
                security=[],
            )
        },
        "/metrics": {
            "get": operation(
                "getMetrics",
                "What this process has counted, in the OpenMetrics format.",
                {"200": _text("It.", "application/openmetrics-text", {"type": "string", "pattern": "# EOF\n$"})},
                _SCOPE,
            )
        },
        "/healthz": {"get": operation("getHealth", "Whether this process answers.", healthy, security=[])},
        "/health": {"get": operation("getHealthToo", "The same; run.app keeps /healthz.", healthy, security=[])},
        "/symbolz": {"post": symbols("rootSymbolz")},
        "/symbol": {"post": symbols("rootSymbol")},
        "/{path}/symbolz": {"post": symbols("symbolz", anywhere)},
        "/{path}/symbol": {"post": symbols("symbol", anywhere)},
        # A function that does one job, at its own URL.
        "/": {"post": post("postProfileBare"), "get": merge("mergeProfilesBare")},
        "/debug/pprof/profile": {"get": merge("mergeProfilesOfPprof")},
    }


def _schemas(config: Config) -> Json:
    text = {"type": "string"}
    whole = {"type": "integer"}
    tree = {
        **_object(parent=_list(whole), function=_list(whole), values=_list(_list(whole))),
        "description": "Nodes, parents first. A function is a place among `functions`, -1 all, -2 other.",
    }
    return {
        "ProfileType": {"type": "string", "enum": [str(kind) for kind in ProfileType]},
        "Service": {
            "type": "string",
            "minLength": 1,
            "maxLength": config.limits.service_bytes,
            "description": f"At most {config.limits.service_bytes} bytes with what is no letter, digit, ., - or _ "
            "written in three for each byte; no control characters.",
        },
        "Timeline": _object(
            start={"type": "string", "format": "date-time", "description": "When the first step begins."},
            step={"type": "integer", "minimum": 1, "description": "Seconds."},
            sample_types={"type": "array", "items": _object(type=text, unit=text)},
            groups={
                "type": "array",
                "minItems": 1,
                "maxItems": config.limits.groups,
                "items": {
                    "type": "object",
                    "required": ["labels", "profiles", "values"],
                    "properties": {
                        "labels": {"type": "array", "items": _object(key=text, value=text)},
                        "profiles": {"type": "array", "items": whole, "description": "How many, for each step."},
                        "values": {
                            "type": "array",
                            "items": {"type": "array", "items": whole},
                            "description": "For each sample type the sum, for each step.",
                        },
                        "others": {"type": "integer", "description": "How many groups these are, if not one."},
                    },
                },
            },
        ),
        "Profile": _object(
            id={"type": "string", "pattern": f"^{ID}$"},
            type={"$ref": _ref("ProfileType")},
            service=text,
            labels={"type": "array", "items": _object(key=text, value=text), "maxItems": config.limits.labels},
            created_at={"type": "string", "format": "date-time"},
            size={"type": "integer", "minimum": 1, "maximum": config.limits.body_bytes, "description": "Bytes."},
            totals={
                "type": "array",
                "items": _object(type=text, unit=text, value=whole),
                "maxItems": config.limits.sample_types,
                "description": "The sum of the samples in each sample type.",
            },
        ),
        "Flame": {
            **_object(
                sample_type=_object(type=text, unit=text),
                sample_types=_list(_object(type=text, unit=text)),
                totals=_list(whole),
                functions=_object(
                    name=_list(text),
                    file=_list(text),
                    line=_list(whole),
                    flat=_list(_list(whole)),
                    cum=_list(_list(whole)),
                    count=whole,
                ),
                nodes=tree,
                callers=tree,
                profiles=_list(_object(found=whole, merged=whole, expired=whole)),
            ),
            "required": ["sample_type", "sample_types", "totals", "functions", "nodes", "profiles"],
            "description": "Columns. Values have one for what was asked for, and a second one for the base.",
        },
        "Choices": _object(
            types=_list({"$ref": _ref("ProfileType")}),
            labels=_list(_object(key=text, values=_list(text))),
            complete={"type": "boolean", "description": "False where there are more."},
        ),
        "Version": _object(version=text, commit=text, build_time=text),
        "Error": {
            **_object(
                code=whole,
                error={"type": "string", "minLength": 1, "pattern": "^[^%]*$"},
                error_code={"type": "string", "pattern": "^[a-z][a-z0-9_]*$"},
            ),
            "description": "A sentence that says what was wrong and what to do.",
        },
    }


def _errors(errors: Sequence[type[ProfbucketError]], statuses: Statuses, *, pprof: bool) -> Json:
    """The answers to *errors*, by status, of a route that *pprof* asks or agents do."""
    told: Json = {}
    for error in errors:
        status = statuses[error]
        why = _WHY[error]
        if str(status) in told:
            told[str(status)]["description"] += f" Or: {why}"
            continue
        headers = dict([_HEADERS[status]]) if status in _HEADERS else {}
        if pprof:
            headers["X-Go-Pprof"] = "go tool pprof prints the body of an answer that has it."
        told[str(status)] = {
            "description": why,
            **({"headers": _headers(headers)} if headers else {}),
            "content": {"application/json": {"schema": {"$ref": _ref("Error")}}},
        }
    return told


def _headers(described: Mapping[str, str]) -> Json:
    return {
        name: {"description": what, "required": True, "schema": {"type": "string"}}
        for name, what in described.items()
    }


def _query(name: str, what: str, schema: Json, *, required: bool = False, example: str | None = None) -> Json:
    shown = {} if example is None else {"example": example}
    return {"name": name, "in": "query", "description": what, "required": required, "schema": schema, **shown}


def _others(what: str) -> Json:
    """Parameters of any other name."""
    schema = {"type": "object", "additionalProperties": {"type": "string"}}
    return {
        "name": "others",
        "in": "query",
        "description": what,
        "style": "form",
        "explode": True,
        "schema": schema,
    }


def _in_path(name: str, what: str, schema: Json, example: str | None) -> Json:
    shown = {} if example is None else {"example": example}
    return {"name": name, "in": "path", "description": what, "required": True, "schema": schema, **shown}


def _json(what: str, body: Json, **more: Json) -> Json:
    """An answer in the envelope; what is in *more* need not be there."""
    envelope = _object(code={"const": 200}, body=body)
    envelope["properties"] |= more
    return _text(what, "application/json", envelope)


def _text(what: str, media_type: str, schema: Json) -> Json:
    return {"description": what, "content": {media_type: {"schema": schema}}}


def _download(what: str) -> Json:
    headers = {"Content-Disposition": "A name for the file.", "X-Content-Type-Options": "nosniff"}
    return {
        "description": what,
        "headers": _headers(headers),
        "content": {"application/octet-stream": {"schema": {}}},
    }


def _link() -> Json:
    return {
        "description": "It is large and lies elsewhere, for a while; no key is needed there.",
        "headers": _headers({"Location": "Where."}),
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}


def _object(**properties: Json) -> Json:
    """An object that has all *properties* and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _ref(name: str) -> str:
    return f"#/components/schemas/{name}"
