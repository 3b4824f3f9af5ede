"""The commands as processes: what a user or a script sees of them."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pytest

from profbucket import __version__
from profbucket.cli.main import COMMANDS
from tests.support.canonical import canonicalize
from tests.support.command_line import PROGRAM, clean_environment, on_terminal, profbucket
from tests.support.go_tool import GoPprof, Run, run
from tests.support.paths import DATA
from tests.support.profiles import Sample, encode, profile, stack
from tests.support.serving import served

CPU = sorted((DATA / "shop-0.0.1").glob("cpu-?.pb.gz"))
HEAP = DATA / "shop-0.0.1" / "heap-1.pb.gz"
MISSING_ID = "s/cpu/20261122T225107.123456789Z-0123456789abcdef"
ALWAYS = ("--from", "0")


def parse_ids(process: Run) -> list[str]:
    return process.check().text.split()


@pytest.fixture(scope="module", params=["--url", "--storage"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options for a collector, and those for a storage."""
    if request.param == "--url":
        return ["--url", str(request.getfixturevalue("collector"))]
    return ["--storage", (tmp_path_factory.mktemp("direct") / "profiles").as_uri()]


def test_pushed_profiles_can_be_found_fetched_merged_and_displayed(
    place: list[str], tmp_path: Path, go_pprof: GoPprof
) -> None:
    """All commands in turn, over HTTP and on a storage: ids, bytes and values are those of the files."""
    query = ("--service", "round", "--type", "cpu")
    ids = parse_ids(profbucket("push", *CPU, *query, "--label", "version=1", *place))
    assert len(set(ids)) == 3
    assert parse_ids(profbucket("push", CPU[0], *query, "--label", "version=1", *place)) == ids[:1]
    assert "round" in profbucket("services", *place).check().text.splitlines()

    lines = profbucket("find", *query, *ALWAYS, "--json", *place).text.splitlines()
    metas = [json.loads(line) for line in lines]
    assert [meta["id"] for meta in metas] == sorted(ids)
    assert all(meta["labels"] == [{"key": "version", "value": "1"}] for meta in metas)
    table = profbucket("find", *query, *ALWAYS, *place).check().text.splitlines()
    assert table[0].split() == ["CREATED", "TYPE", "BYTES", "LABELS", "ID"]
    assert [line.split()[2:] for line in table[1:]] == [
        [str(meta["size"]), "version=1", str(meta["id"])] for meta in metas
    ]

    for profile_id, file in zip(ids, CPU, strict=True):
        assert profbucket("get", profile_id, *place).check().stdout == file.read_bytes()

    expected = tmp_path / "merged.pb.gz"
    profbucket("merge", *CPU, "-o", expected).check()
    by_query = profbucket("merge", *query, *ALWAYS, *place).check().stdout
    by_ids = profbucket("merge", *ids, *place).check().stdout
    samples = canonicalize(expected.read_bytes()).samples
    assert canonicalize(by_query).samples == canonicalize(by_ids).samples == samples

    top = profbucket("top", *query, *ALWAYS, *place).check().text
    file = tmp_path / "by-query.pb.gz"
    file.write_bytes(by_query)
    assert top == go_pprof("-top", file).check().text
    assert profbucket("top", ids[0], *place).check().text == go_pprof("-top", CPU[0]).check().text


def test_labels_keep_every_character(place: list[str]) -> None:
    typed = ["path=/a,b=c%2C", "größe=µ +~!", "tilde=~x"]
    query = ("--service", "labels", "--type", "heap")
    labels = [arg for label in typed for arg in ("--label", label)]
    profbucket("push", HEAP, *query, *labels, *place).check()
    meta = json.loads(profbucket("find", *query, *ALWAYS, *labels[:4], "--json", *place).check().text)
    assert {f"{label['key']}={label['value']}" for label in meta["labels"]} == set(typed)


def test_labels_select(place: list[str]) -> None:
    """--label takes the four operators of the API."""
    for file, zone in zip(CPU, ("eu-1", "eu-2", "us-1"), strict=True):
        profbucket("push", file, "--service", "zones", "--type", "cpu", "--label", f"zone={zone}", *place).check()
    expected = {"zone=eu-1": 1, "zone!=eu-1": 2, "zone=~eu-.*": 2, "zone!~eu-.*": 1, "zone=eu": 0}
    for condition, count in expected.items():
        process = profbucket("find", "--service", "zones", *ALWAYS, "--json", "--label", condition, *place)
        assert len(process.text.splitlines()) == count, condition
        assert process.returncode == (0 if count else 1)


def test_find_follows_pages_up_to_its_limit(tmp_path: Path) -> None:
    storage = (tmp_path / "profiles").as_uri()
    files = sorted((DATA / "shop-0.0.1").glob("heap-?.pb.gz")) + sorted((DATA / "shop-0.0.2").glob("heap-?.pb.gz"))
    ids = parse_ids(profbucket("push", *files[:5], "--service", "s", "--type", "heap", "--storage", storage))
    with served(storage, tmp_path / "log", PROFBUCKET_MAX_FIND="2") as url:
        for place in (["--url", url], ["--storage", storage]):
            find = ("find", "--service", "s", *ALWAYS, "--json", *place)
            process = profbucket(*find, PROFBUCKET_MAX_FIND="2").check()
            assert [json.loads(line)["id"] for line in process.text.splitlines()] == sorted(ids)
            assert process.stderr == ""
            part = profbucket(*find, "--limit", "3", PROFBUCKET_MAX_FIND="2").check()
            assert part.text.splitlines() == process.text.splitlines()[:3]
            assert "--limit" in part.stderr


def test_a_profile_without_a_time_gets_that_of_its_file(place: list[str], tmp_path: Path) -> None:
    """... or that of --created-at."""
    file = tmp_path / "undated.pb.gz"
    file.write_bytes(encode(profile(Sample(stack("main"), (1, 1)), time_nanos=0)))
    os.utime(file, ns=(0, 1_600_000_000_123_456_789))
    push: tuple[str | Path, ...] = ("push", file, "--service", "dated", "--type", "cpu", *place)
    assert parse_ids(profbucket(*push))[0].startswith("dated/cpu/20200913T122640.123456789Z-")
    assert parse_ids(profbucket(*push, "--created-at", "2001-02-03T04:05:06Z"))[0].startswith(
        "dated/cpu/20010203T040506.000000000Z-"
    )


def test_one_bad_file_does_not_stop_the_others(place: list[str], tmp_path: Path) -> None:
    """Each failure is a line that names its file, and the exit code is 1."""
    bad = tmp_path / "bad.pb.gz"
    bad.write_bytes(b"not a profile")
    missing = tmp_path / "missing.pb.gz"
    process = profbucket("push", CPU[0], bad, missing, CPU[1], "--service", "some", "--type", "cpu", *place)
    assert process.returncode == 1
    assert len(process.text.split()) == 2
    failures = process.stderr.splitlines()
    assert len(failures) == 3
    assert f"{bad}: " in failures[0]
    assert "pprof" in failures[0]
    assert failures[1] == f"profbucket: {missing}: No such file or directory"
    assert failures[2] == "profbucket: 2 of 4 files were not stored"


# Local files


def test_merge_of_files_equals_pprofs(go_pprof: GoPprof, tmp_path: Path) -> None:
    """``profbucket merge -o`` replaces ``go tool pprof -proto -output``."""
    ours, theirs = tmp_path / "ours.pb.gz", tmp_path / "theirs.pb.gz"
    profbucket("merge", "-o", ours, *CPU).check()
    go_pprof("-proto", "-symbolize=none", "-output", theirs, *CPU).check()
    assert canonicalize(ours.read_bytes()) == canonicalize(theirs.read_bytes())


REFINED_WITH_GO = ["-focus=main", "-show_from=shop", "-tagfocus=1kb:"]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([], []),
        (["-n", "5", "--sort", "cum"], ["-nodecount=5", "-cum"]),
        (["--sample-type", "alloc_space", "--all"], ["-alloc_space", "-nodefraction=0"]),
        (["--focus", "main", "--show-from=shop", "--tagfocus", "1kb:"], REFINED_WITH_GO),
    ],
)
def test_top_of_files_equals_pprofs(go_pprof: GoPprof, ours: list[str], theirs: list[str]) -> None:
    assert profbucket("top", *ours, HEAP).check().text == go_pprof("-top", *theirs, HEAP).check().text


def test_merges_are_refined(place: list[str], tmp_path: Path) -> None:
    """Files by the command, the merge of a query by the collector, with the same result."""
    query = ("--service", "refined", "--type", "cpu")
    ids = parse_ids(profbucket("push", *CPU, *query, *place))
    options = ("--focus", "main", "--hide", "runtime", "--tagroot", "endpoint")
    sources = (CPU, (*ids, *place), (*query, *ALWAYS, *place))
    merges = [profbucket("merge", *options, *selected).check().stdout for selected in sources]
    samples = canonicalize(merges[0]).samples
    assert samples
    assert [canonicalize(data).samples for data in merges] == [samples] * 3
    assert profbucket("merge", "--focus", "(", CPU[0]).returncode == 2


def test_a_dash_is_standard_input_and_output() -> None:
    with CPU[0].open("rb") as stream:
        process = subprocess.run([PROGRAM, "merge", "-", "-o", "-"], stdin=stream, capture_output=True, check=True)
    assert canonicalize(process.stdout).samples == canonicalize(CPU[0].read_bytes()).samples


def test_a_failed_merge_names_the_file_and_writes_nothing(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pb.gz"
    bad.write_bytes(b"not a profile")
    output = tmp_path / "out.pb.gz"
    process = profbucket("merge", *CPU, bad, "-o", output)
    assert process.returncode == 1
    assert process.stderr.startswith(f"profbucket: {bad}: ")
    assert not output.exists()


def test_control_characters_in_a_profile_do_not_reach_the_terminal(tmp_path: Path) -> None:
    file = tmp_path / "evil.pb.gz"
    file.write_bytes(encode(profile(Sample(stack("a\x1b[2Jb\rc"), (1, 1)))))
    assert "a\N{REPLACEMENT CHARACTER}[2Jb\N{REPLACEMENT CHARACTER}c" in profbucket("top", file).check().text


# Errors


@pytest.mark.parametrize(
    ("args", "code", "part"),
    [
        (["find"], 2, "--service"),
        (["find", "--service", "s", "--type", "Brightness"], 2, "Brightness"),
        (["find", "--service", "s", "--limit", "0"], 2, "at least 1"),
        (["find", "--service", "s", "--limit", "many"], 2, "many"),
        (["find", "--serv", "s"], 2, "--serv"),
        (["find", "--service", "s", "--from", "yesterday", "--storage", "memory:"], 2, "yesterday"),
        (["find", "--service", "s", "--from", "now", "--to", "now-1h", "--storage", "memory:"], 2, "--from"),
        (["find", "--service", "s", "--from", "-15m", "--to", "-30m", "--storage", "memory:"], 2, "--from"),
        (["find", "--service", "s", "--label", "x", "--storage", "memory:"], 2, "'x'"),
        (["find", "--service", "s", "--label", "x=~(", "--storage", "memory:"], 2, "regular expression"),
        (["find", "--service", "nobody", "--storage", "memory:"], 1, "nobody"),
        (["find", "--service", "s", "--storage", "memory:", "--url", "http://localhost"], 2, "exclude each other"),
        (["find", "--service", "s", "--storage", "s4://x"], 1, "s4"),
        (["find", "--service", "s", "--url", "localhost:1"], 1, "localhost:1"),
        (["services", "--url", "http://127.0.0.1:1"], 1, "Connection refused"),
        (["services", "--storage", "memory:"], 1, "nothing has been stored"),
        (["get", "nonsense", "--storage", "memory:"], 1, "nonsense"),
        (["get", MISSING_ID, "--storage", "memory:"], 1, MISSING_ID),
        (["merge", "--storage", "memory:"], 2, "--service"),
        (["merge", "--service", "s", "--storage", "memory:"], 2, "--type"),
        (["merge", str(CPU[0]), "--service", "s"], 2, "exclude each other"),
        (["merge", str(CPU[0]), "--delta"], 2, "--delta"),
        (["merge", str(CPU[0]), str(HEAP)], 1, "cannot be merged"),
        (["merge", str(CPU[0]), "-o", "/nowhere/x"], 1, "/nowhere/x: No such file or directory"),
        (["top", str(CPU[0]), "--sample-type", "brightness"], 1, "samples, cpu"),
        (["top", "/etc"], 1, "/etc: Is a directory"),
        (
            ["push", str(CPU[0]), "--service", "s", "--type", "cpu", "--label", "x", "--storage", "memory:"],
            2,
            "'x'",
        ),
        (["find", "--service", "~(", "--storage", "memory:"], 2, "regular expression"),
        (["find", "--service", "a\nb", "--storage", "memory:"], 2, "service name"),
        (["fsck", "--since", "yesterday", "--storage", "memory:"], 2, "'yesterday'"),
        (["push", "--service", "s", "--type", "cpu"], 2, "FILE"),
        (["run", "--service", "s", "--url", "http://localhost", "--"], 2, "COMMAND"),
        (["serve", "--port", "70000"], 2, "70000"),
        (["serve", "--host", "256.0.0.1", "--storage", "memory:"], 1, "256.0.0.1"),
        (["fsck"], 2, "--storage"),
        (["fly"], 2, "fly"),
        (["--fly"], 2, "--fly"),
        (["key", "fly"], 2, "fly"),
        (["key"], 2, "key create"),
        ([], 2, "services"),
    ],
    ids=lambda case: " ".join(case)[:60] if isinstance(case, list) else "",
)
def test_errors_are_one_message_on_stderr(args: Sequence[str], code: int, part: str) -> None:
    """The exit code is 2 if the command line is wrong, else 1; no traceback, and nothing on stdout."""
    process = profbucket(*args)
    assert (process.returncode, process.stdout) == (code, b"")
    assert part in process.stderr
    assert "Traceback" not in process.stderr
    assert process.stderr.startswith("profbucket: " if code == 1 else "Usage: profbucket")


def test_options_and_arguments_may_be_mixed(tmp_path: Path) -> None:
    storage = (tmp_path / "profiles").as_uri()
    process = profbucket(
        "push", CPU[0], "--service=s", CPU[1], "--type", "cpu", "--storage", storage, "--", CPU[2]
    )
    assert len(parse_ids(process)) == 3


def test_a_closed_pipe_is_quiet(place: list[str]) -> None:
    """As in ``profbucket find | head -1``."""
    profbucket("push", CPU[0], "--service", "pipe", "--type", "cpu", *place).check()
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [PROGRAM, "find", "--service", "pipe", *ALWAYS, *place]
        process = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writing)
    assert process.stderr == b""


def test_push_shows_its_progress_on_a_terminal_only() -> None:
    push: tuple[str | Path, ...] = ("push", *CPU, "--service", "bar", "--type", "cpu", "--storage", "memory:")
    with on_terminal(*push) as terminal:
        assert terminal.wait() == 0
    output = terminal.output.decode()
    assert re.search(r"pushing.*100%", output, re.DOTALL)
    assert len(re.findall(r"bar/cpu/\S+", output)) == 3
    assert profbucket(*push).check().stderr == ""


def test_a_profile_is_not_written_to_a_terminal() -> None:
    with on_terminal("merge", *CPU) as terminal:
        assert terminal.wait() == 2
    assert b"-o FILE" in terminal.output


# Help


def test_the_program_has_a_version() -> None:
    assert profbucket("--version").check().text == f"profbucket {__version__}\n"
    assert "--version" in profbucket("--help").check().text


def test_the_program_lists_its_commands() -> None:
    text = profbucket("--help").check().text
    assert text == profbucket("-h").check().text
    assert re.findall(r"^  ([a-z ]+?)  ", text, re.MULTILINE) == sorted(COMMANDS)
    assert re.findall(r"^  ([a-z ]+?)  ", profbucket("key", "--help").check().text, re.MULTILINE) == [
        "key create",
        "key hash",
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_help(command: str) -> None:
    """Its first line is that of the list; no line is wider than a terminal."""
    module = import_module(f"profbucket.cli.commands.{command.replace(' ', '_')}")
    assert (module.__doc__ or "").partition("\n")[0] == COMMANDS[command]
    text = profbucket(*command.split(), "--help", COLUMNS="80").check().text
    assert text.startswith(f"Usage: profbucket {command} ")
    assert COMMANDS[command] in text
    assert re.search(r"^  -h, --help +", text, re.MULTILINE)
    assert [line for line in text.splitlines() if len(line) > 80] == []


# Imports


@pytest.mark.parametrize(
    ("command", "unneeded"),
    [
        (["--help"], "numpy google.protobuf isal re2 flask http.client importlib.metadata sqlite3"),
        (["merge", "--help"], "numpy google.protobuf isal re2 flask http.client importlib.metadata"),
        (
            ["merge", *map(str, CPU[:2]), "-o", os.devnull],
            "numpy re2 flask http.client importlib.metadata sqlite3",
        ),
        (["find", "--service", "s", "--url", "http://127.0.0.1:1"], "numpy google.protobuf re2 flask sqlite3"),
    ],
    ids=lambda case: " ".join(case)[:20] if isinstance(case, list) else "",
)
def test_modules_are_imported_on_use(command: list[str], unneeded: str) -> None:
    loaded = loaded_modules(command)
    assert not loaded & set(unneeded.split()), shlex.join(command)


def test_a_command_that_needs_only_http_imports_nothing_of_the_server() -> None:
    """The rest of profbucket needs third-party packages, which `pip install profbucket` does not install."""
    allowed = ("agent", "auth", "cli", "config", "errors", "limits", "model", "periods", "timed_http", "times")
    for command in (["find", "--service", "s", "--label", "a=~b"], ["push", str(CPU[0])], ["get", MISSING_ID]):
        if command[0] == "push":
            command += ["--service", "s", "--type", "cpu"]
        modules = loaded_modules([*command, "--url", "http://127.0.0.1:1"])
        ours = {name.split(".")[1] for name in modules if name.startswith("profbucket.")}
        assert ours <= set(allowed), command


def loaded_modules(command: Sequence[str]) -> set[str]:
    """Return the names of the modules that a command has imported when it exits."""
    program = f"import atexit, sys\nsys.argv = ['profbucket', *{list(command)!r}]\n"
    program += "atexit.register(lambda: print('loaded', *sys.modules))\n"
    program += "from profbucket.cli import main\nmain()"
    process = run(sys.executable, "-c", program, environment=clean_environment())
    first, *modules = process.text.splitlines()[-1].split()
    assert first == "loaded"
    return set(modules)
