"""Messages in both encodings of the Connect protocol: protobuf, and JSON by protobuf's rules."""

import json
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple, TypeVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message

from profbucket.errors import Invalid
from profbucket.grafana.listing import LabelSet
from profbucket.grafana.querier_pb2 import LabelPair, Labels, SeriesResponse
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


class LabelSets(NamedTuple):
    """The content of a ``SeriesResponse``. A thousand services have ten thousand sets of a few thousand labels."""

    sets: Sequence[LabelSet]

    def encode(self, *, is_json: bool) -> bytes:
        """Return the message encoded; as JSON ten times as fast as protobuf's library does it."""
        if not is_json:
            labels_set = [
                Labels(labels=[LabelPair(name=name, value=value) for name, value in labels])
                for labels in self.sets
            ]
            return SeriesResponse(labels_set=labels_set).SerializeToString()
        pairs = set(chain.from_iterable(self.sets))
        texts = {(name, value): _dump({"name": name, "value": value}) for name, value in pairs}
        sets = [b'{"labels":[%b]}' % b",".join([texts[pair] for pair in labels]) for labels in self.sets]
        return b'{"labelsSet":[%b]}' % b",".join(sets) if sets else b"{}"


def encode_message(message: Message | LabelSets, *, is_json: bool) -> bytes:
    """Return *message* encoded."""
    if isinstance(message, LabelSets):
        return message.encode(is_json=is_json)
    if not is_json:
        return message.SerializeToString()
    fields = MessageToDict(message)
    if isinstance(message, Profile) and message.string_table:
        # The table is text in the JSON that Grafana reads, but of bytes in the class, as profilers write any.
        fields["stringTable"] = [text.decode(errors="replace") for text in message.string_table]
    return _dump(fields)


def _dump(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()
