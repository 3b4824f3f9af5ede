"""Error codes: all are listed with a meaning, and an HTTP client can rebuild the error from status and code."""

import ast
import re
from collections.abc import Iterator
from dataclasses import fields

import pytest

from profbucket.api.app import _HTTP_ERROR_CODES
from profbucket.errors import CODES, Invalid, Misconfigured, ProfbucketError, Unavailable, error_class
from profbucket.limits import Limits
from tests.test_layering import project_sources

CLASSES: list[type[ProfbucketError]] = ProfbucketError.__subclasses__()


def code_literals() -> Iterator[tuple[str, str]]:
    """Yield every ``code="…"`` of a call in the source, with its place."""
    for path, text in project_sources().items():
        for node in ast.walk(ast.parse(text)):
            match node:
                case ast.keyword("code", ast.Constant(str(code))):
                    yield code, f"{path}:{node.value.lineno}"


def test_every_code_in_the_source_is_listed() -> None:
    codes = dict(code_literals())
    assert len(codes) > 20
    assert {code: place for code, place in codes.items() if code not in CODES} == {}
    assert {ProfbucketError.default_code, *(cls.default_code for cls in CLASSES)} <= CODES.keys()


def test_every_listed_code_is_used() -> None:
    used = {code for code, _ in code_literals()} | {ProfbucketError.default_code}
    used |= {cls.default_code for cls in CLASSES} | {*_HTTP_ERROR_CODES.values(), "bad_request"}
    assert sorted(CODES.keys() - used) == []


def test_codes_are_snake_case_and_not_those_of_limits() -> None:
    limits = {Limits.code(field.name) for field in fields(Limits)}
    assert [code for code in (*CODES, *limits) if not re.fullmatch("[a-z]+(_[a-z]+)*", code)] == []
    assert not limits & CODES.keys()


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_an_error_is_rebuilt_from_its_status_and_code(cls: type[ProfbucketError]) -> None:
    assert error_class(cls.status, cls.default_code) is cls
    assert error_class(cls.status, "a_code_of_a_newer_version") in CLASSES


def test_an_unknown_status_has_no_class() -> None:
    assert error_class(418, "invalid") is None


def test_an_error_keeps_its_class_and_code_with_a_name_in_front() -> None:
    error = Invalid("no samples", code="empty_profile").about("a.pb.gz")
    assert (type(error), error.code, str(error)) == (Invalid, "empty_profile", "a.pb.gz: no samples")


def test_the_default_code_is_the_classs() -> None:
    assert Misconfigured("x").code == "misconfigured"
    assert Unavailable("x").code == "unavailable"
