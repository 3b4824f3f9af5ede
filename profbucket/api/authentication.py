"""Authentication of a request."""

import flask
from werkzeug.wrappers import Request

from profbucket.auth import ApiKey, Authenticator, Scope
from profbucket.telemetry.request import current_record


def authenticate_request(
    authenticator: Authenticator, scope: Scope | None = None, request: Request = flask.request
) -> ApiKey:
    """Return the API key of *request*, by default the current one, and note its name in the request record.

    Raise ``Unauthenticated`` for a missing or unknown key, ``PermissionDenied`` for one that lacks *scope*.
    """
    basic = request.authorization
    password = basic.password if basic is not None and basic.type == "basic" else None
    api_key = authenticator.authenticate(
        dict(request.headers), password, request.remote_addr or "", request.host, request.method
    )
    current_record().api_key = api_key.name
    if scope is not None:
        api_key.require(scope)
    return api_key
