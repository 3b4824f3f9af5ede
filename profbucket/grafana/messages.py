"""Messages in both encodings of the Connect protocol: protobuf, and JSON by protobuf's rules."""

import json
from typing import Any, TypeVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message

from profbucket.errors import Invalid
from profbucket.grafana.querier_pb2 import SeriesResponse
from profbucket.pprof.json_message import parse_json_message
from profbucket.pprof.profile_pb2 import Profile

_Request = TypeVar("_Request", bound=Message)


def decode_message(body: bytes, message_class: type[_Request], *, is_json: bool) -> _Request:
    """Return the message in *body*, without fields that the class does not have. Raise ``Invalid``."""
    if is_json:
        return parse_json_message(body or b"{}", message_class, message_class.__name__)
    try:
        message = message_class()
        message.ParseFromString(body)
        return message
    except DecodeError:
        raise Invalid(
            f"the body is not a {message_class.__name__}: malformed protobuf", code="invalid_protobuf"
        ) from None


def encode_message(message: Message, *, is_json: bool) -> bytes:
    """Return *message* encoded."""
    if not is_json:
        return message.SerializeToString()
    if isinstance(message, SeriesResponse):
        return _dump(_label_sets_to_dict(message))
    fields = MessageToDict(message)
    if isinstance(message, Profile) and message.string_table:
        # The table is text in the JSON that Grafana reads, but of bytes in the class, as profilers write any.
        fields["stringTable"] = [text.decode(errors="replace") for text in message.string_table]
    return _dump(fields)


def _label_sets_to_dict(message: SeriesResponse) -> dict[str, Any]:
    """Return what ``MessageToDict`` does, for which the sets of a thousand services take most of a second."""
    sets = [
        {"labels": [{"name": pair.name, "value": pair.value} for pair in labels.labels]}
        for labels in message.labels_set
    ]
    return {"labelsSet": sets} if sets else {}


def _dump(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()
