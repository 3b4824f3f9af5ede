"""Output of commands does not pass on what a collector or a profile may send to control the terminal."""

import ast
import json
import logging
from io import StringIO

import pytest

from profbucket.model.printable import to_printable
from profbucket.telemetry import logs
from tests.support import scrape_targets as servers
from tests.support.command_line import profbucket
from tests.support.paths import ROOT
from tests.support.scrape_targets import run_server

# Escape, bell, C1 control, bidi override and isolate, zero-width space, line and paragraph separator, surrogate.
HOSTILE = ["\x1b", "\x07", "\x9b", "\u202e", "\u2066", "\u200b", "\u2028", "\u2029", "�"]


@pytest.mark.parametrize("char", [*HOSTILE, "\n", "\r", "\t", "\0", "\x7f", "\ufeff", "\U000e0001"], ids=ascii)
def test_unprintable_characters_are_replaced(char: str) -> None:
    assert to_printable(f"a{char}b") == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize("text", ["", "main.main", "größe 数 😀", "a b"])
def test_printable_text_is_kept(text: str) -> None:
    assert to_printable(text) == text


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        (["services"], {"body": ["a" + "".join(HOSTILE)]}),
        (["find", "--service", "s", "--from", "0"], {"error": "a" + "".join(HOSTILE), "error_code": "invalid"}),
    ],
)
def test_a_hostile_collector_controls_no_terminal(arguments: list[str], body: object) -> None:
    with run_server(servers.serve(json.dumps(body).encode())) as server:
        run = profbucket(*arguments, "--url", server.url)
    output = run.stdout.decode() + run.stderr
    assert "a" in output
    assert not [char for char in output if not char.isprintable() and char != "\n"]


def test_commands_print_only_constants_without_the_helper() -> None:
    """``print_line`` replaces what is not printable; a plain ``print`` to stdout must not show input."""
    allowed = {"key_create.py", "key_hash.py"}  # they print what they have generated
    plain = [
        f"{file.name}:{node.lineno}"
        for file in sorted((ROOT / "profbucket" / "cli" / "commands").glob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
        if not node.keywords and file.name not in allowed
    ]
    assert plain == []


@pytest.mark.parametrize("formatter", [logs.JsonFormatter(), logs.PlainFormatter()])
def test_logs_and_their_tracebacks_control_no_terminal(formatter: logging.Formatter) -> None:
    text = "a" + "".join(HOSTILE)
    try:
        raise ValueError(text)
    except ValueError as error:
        record = logging.LogRecord("x", logging.ERROR, "", 0, text, (), (ValueError, error, error.__traceback__))
    stream = StringIO()
    stream.write(formatter.format(record))
    assert not [char for char in stream.getvalue() if not char.isprintable() and char != "\n"]
    if isinstance(formatter, logs.JsonFormatter):
        assert json.loads(stream.getvalue())["message"] == text
