"""Hooks of the application for a server that receives bodies by itself."""

from collections.abc import Callable
from dataclasses import dataclass
from wsgiref.types import WSGIEnvironment

from flask import Flask, request

from profbucket.api.admission import Admission
from profbucket.api.body import RECEIVED_BODY, BodyAwaited
from profbucket.api.middleware import normalize_path
from profbucket.api.routes import WITH_BODY

_EXTENSION = "profbucket"


@dataclass(frozen=True, slots=True)
class ServerHooks:
    """The limit on the memory of bodies, and the check that a server makes before it receives a large one.

    ``wants_body`` returns whether the request in a WSGI environment is valid as far as its head tells. If not, the
    application answers it without the body.
    """

    admission: Admission
    wants_body: Callable[[WSGIEnvironment], bool]


def get_hooks(app: Flask) -> ServerHooks:
    """Return the hooks of *app*."""
    hooks: ServerHooks = app.extensions[_EXTENSION]
    return hooks


def set_hooks(app: Flask, admission: Admission, function_names: frozenset[str]) -> None:
    """Give *app* its hooks."""

    def wants_body(environ: WSGIEnvironment) -> bool:
        environ = {**environ, RECEIVED_BODY: BodyAwaited()}
        normalize_path(environ, function_names)
        with app.request_context(environ):
            rule = request.url_rule
            if rule is None or rule.endpoint not in WITH_BODY:
                return False
            try:
                app.view_functions[rule.endpoint](**(request.view_args or {}))
            except BodyAwaited:  # the view has come to the point where it reads the body
                return True
            except Exception:  # noqa: BLE001 - the application fails in the same way, and answers
                return False
            return False

    app.extensions[_EXTENSION] = ServerHooks(admission, wants_body)
