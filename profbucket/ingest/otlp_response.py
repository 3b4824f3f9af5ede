"""OpenTelemetry's answers, in the encoding of the request."""

import json

from profbucket.ingest.otlp_pb2 import Any, ErrorInfo, ExportResponse, PartialSuccess, Status

_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_DOMAIN = "profbucket"

# The numbers of google.rpc.Code by HTTP status; all others are INTERNAL, or for requests INVALID_ARGUMENT.
_CODES = {401: 16, 403: 7, 404: 5, 405: 12, 413: 8, 503: 14}
_INTERNAL, _INVALID_ARGUMENT = 13, 3


def encode_response(rejected: int, message: str, *, is_json: bool) -> bytes:
    """Return the response to a request of which *rejected* profiles were not stored; *message* says why."""
    if is_json:
        partial = {"rejectedProfiles": str(rejected), "errorMessage": message}
        return json.dumps({"partialSuccess": partial} if rejected else {}).encode()
    response = ExportResponse()
    if rejected:
        response.partial_success.CopyFrom(PartialSuccess(rejected_profiles=rejected, error_message=message))
    return response.SerializeToString()


def encode_status(status: int, code: str, message: str, *, is_json: bool) -> bytes:
    """Return a ``google.rpc.Status`` for an HTTP *status*; *code* is that of the error."""
    number = _CODES.get(status, _INTERNAL if status >= 500 else _INVALID_ARGUMENT)
    reason = code.upper()
    if is_json:
        details = [{"@type": _ERROR_INFO, "reason": reason, "domain": _DOMAIN}]
        return json.dumps({"code": number, "message": message, "details": details}).encode()
    info = ErrorInfo(reason=reason, domain=_DOMAIN).SerializeToString()
    return Status(
        code=number, message=message, details=[Any(type_url=_ERROR_INFO, value=info)]
    ).SerializeToString()
