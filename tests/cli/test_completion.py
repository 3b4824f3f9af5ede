"""The completion of commands, options and services, in the shells themselves."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from profbucket.cli.commands.completion import complete
from profbucket.cli.main import COMMANDS
from tests.support.command_line import PROGRAM, clean_environment, on_terminal, profbucket
from tests.support.paths import DATA

PROFILE = DATA / "shop-0.0.1" / "cpu-1.pb.gz"


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the URL of a storage with two services."""
    url = (tmp_path_factory.mktemp("completion") / "profiles").as_uri()
    for service in ("shop", "a$(b)"):
        profbucket("push", PROFILE, "--service", service, "--type", "cpu", "--storage", url).check()
    return url


def test_commands_options_and_values_are_proposed() -> None:
    assert complete([""]) == sorted({command.split()[0] for command in COMMANDS})
    assert complete(["fi"]) == ["find"]
    assert complete(["key", ""]) == ["create", "hash"]
    assert complete(["find", "--la"]) == ["--label"]
    assert "--help" in complete(["merge", "-"])
    assert complete(["top", "--sort", ""]) == ["cum", "flat"]
    assert complete(["push", "--type", "c"]) == ["cpu"]
    assert complete(["find", "--from", ""]) == complete(["push", "x"]) == complete(["nonsense", "x"]) == []


def test_services_that_are_safe_in_a_shell_are_proposed(storage: str) -> None:
    words = ("completion", "words", "--", "find")
    assert profbucket(*words, "--storage", storage, "--service", "").check().text == "shop\n"  # and not a$(b)
    assert profbucket(*words, "--url", "http://127.0.0.1:1", "--service", "").check().text == ""


def complete_in_bash(line: str, environment: dict[str, str], directory: Path) -> str:
    """Return what *line* becomes. Bash's own completion of files needs a terminal."""
    words = line.split(" ")
    program = f'eval "$(profbucket completion bash)"; COMP_WORDS=({" ".join(words[:-1])} "{words[-1]}")'
    program += f'; COMP_CWORD={len(words) - 1}; _profbucket; echo "${{COMPREPLY[@]}}"'
    replies = run_shell(["bash", "-c", program], environment, directory)
    return " ".join([*words[:-1], *replies])


def complete_in_fish(line: str, environment: dict[str, str], directory: Path) -> str:
    """Return what *line* becomes."""
    program = f"profbucket completion fish | source; complete -C'{line}'"
    replies = run_shell(["fish", "--no-config", "-c", program], environment, directory)
    return " ".join([*line.split(" ")[:-1], *replies])


def complete_in_zsh(line: str, environment: dict[str, str], directory: Path) -> str:
    """Return what *line* becomes, typed on a terminal."""
    load = 'autoload -Uz compinit; compinit -u -D; eval "$(profbucket completion zsh)"; PS1='
    with on_terminal("-f", "-i", program="zsh", environment=environment, directory=directory) as terminal:
        # Tab completes; then the line, behind an echo, is printed.
        terminal.write(f"{load}\n{line}\t\x01echo completed: \nexit\n")
        terminal.wait()
    [completed] = [text for text in terminal.output.decode().splitlines() if text.startswith("completed: ")]
    return completed.removeprefix("completed: ")


def run_shell(command: list[str], environment: dict[str, str], directory: Path) -> list[str]:
    run = subprocess.run(
        command, env=environment, cwd=directory, capture_output=True, text=True, check=True, timeout=60
    )
    return run.stdout.split()


SHELLS: dict[str, Callable[[str, dict[str, str], Path], str]] = {
    "bash": complete_in_bash,
    "fish": complete_in_fish,
    "zsh": complete_in_zsh,
}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_with_its_script(shell: str, storage: str, tmp_path: Path) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed; `make check` installs it on Debian")
    (tmp_path / "cpu.pb.gz").touch()
    environment = clean_environment(PATH=f"{Path(PROGRAM).parent}:/usr/bin:/bin", HOME=str(tmp_path), TERM="dumb")
    lines = {
        "profbucket fin": "profbucket find",
        "profbucket key cr": "profbucket key create",
        "profbucket find --la": "profbucket find --label",
        f"profbucket find --storage {storage} --service ": f"profbucket find --storage {storage} --service shop",
    }
    if shell != "bash":
        lines["profbucket merge cp"] = "profbucket merge cpu.pb.gz"
    if shell == "fish":  # files are proposed only if nothing else is
        lines["profbucket key "] = "profbucket key create hash"
    for line, completed in lines.items():
        assert SHELLS[shell](line, environment, tmp_path) == completed
