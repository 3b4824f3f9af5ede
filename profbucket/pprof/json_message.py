"""Protobuf messages in JSON, by protobuf's rules."""

import json
from typing import TypeVar

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from profbucket.errors import Invalid

_MessageType = TypeVar("_MessageType", bound=Message)

_SHOWN_CHARACTERS = 200  # of the parser's message


def parse_json_message(body: bytes, message_class: type[_MessageType], name: str) -> _MessageType:
    """Return the message in *body*, without fields that the class does not have.

    Raise ``Invalid`` (code ``invalid_json``), with the message's *name*. The caller has limited the size.
    """
    try:
        fields = json.loads(body)
        if not isinstance(fields, dict):
            raise ValueError("it is not an object")
        return ParseDict(fields, message_class(), ignore_unknown_fields=True)
    # ParseDict raises all of these, for numbers that overflow, deep nesting, and values of a wrong type.
    except (ValueError, OverflowError, RecursionError, ParseError, AttributeError, TypeError) as error:
        raise Invalid(
            f"the body is not a {name} in JSON: {str(error)[:_SHOWN_CHARACTERS]}", code="invalid_json"
        ) from None
