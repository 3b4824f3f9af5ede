"""Print a script that completes commands, options and services in a shell.

Add a line to the shell's startup file; for zsh, below the one with compinit:

    ~/.bashrc                   eval "$(profbucket completion bash)"
    ~/.zshrc                    eval "$(profbucket completion zsh)"
    ~/.config/fish/config.fish  profbucket completion fish | source

Services are requested from the collector, with the options on the command line.
"""

import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from string import ascii_letters, digits

from profbucket.cli.options import add_collector_options, connect
from profbucket.cli.parser import Arguments, Parser, UsageError
from profbucket.cli.terminal import print_line
from profbucket.errors import ProfbucketError
from profbucket.model.profile_type import COMMON_TYPES

_BASH = """
_profbucket() {
  local IFS=$'\\n'
  COMPREPLY=($(profbucket completion words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _profbucket profbucket
"""
_ZSH = """
_profbucket() {
  local -a replies
  replies=("${(@f)$(profbucket completion words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n $replies ]]; then compadd -a replies; else _files; fi
}
compdef _profbucket profbucket
"""
_FISH = """
function __profbucket_complete
  set -l replies (profbucket completion words -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)
  if set -q replies[1]; printf '%s\\n' $replies; else; __fish_complete_path (commandline -ct); end
end
complete -c profbucket -f -a '(__profbucket_complete)'
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
_SECONDS = 3  # that a collector has to list its services
# Characters that no shell gives a meaning to: a service's name is not quoted.
_SAFE = frozenset(ascii_letters + digits + "._-/:@+")


def add_arguments(parser: Parser) -> None:
    parser.add_positional("shell", metavar="bash|zsh|fish", choices=[*_SCRIPTS, "words"])
    parser.add_positional("words", metavar="", nargs="*", default=[])


def run(arguments: Arguments) -> None:
    if arguments.shell != "words":
        for line in _SCRIPTS[arguments.shell].strip().splitlines():
            print_line(line)
        return
    for word in complete(arguments.words):
        print_line(word)


def complete(words: Sequence[str]) -> list[str]:
    """Return what the last of *words*, the command line without the program, may become."""
    *before, prefix = words or [""]
    return sorted({word for word in _propose(before, prefix) if word.startswith(prefix)})


def _propose(before: Sequence[str], prefix: str) -> Iterator[str]:
    from profbucket.cli.main import COMMANDS, import_command, split_command

    command, rest = split_command(before)
    if command not in COMMANDS:
        yield from (name.split()[len(before)] for name in COMMANDS if name.split()[: len(before)] == list(before))
        return
    parser = Parser(command, "")
    import_command(command).add_arguments(parser)
    actions = {option: action for action in parser._actions for option in action.option_strings}
    last = actions.get(rest[-1]) if rest else None
    if last is not None and last.nargs != 0:  # its value
        if last.choices is not None:
            yield from map(str, last.choices)
        elif last.dest == "profile_type":
            yield from COMMON_TYPES
        elif last.dest == "service":
            yield from _list_services(rest)
    elif prefix.startswith("-"):
        yield from (*actions, "--help")


def _list_services(words: Sequence[str]) -> Iterator[str]:
    """Yield the services of the collector or storage that options in *words* name; none if it does not answer."""
    parser = Parser("", "")
    add_collector_options(parser)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS)  # ends the process
    with suppress(UsageError, ProfbucketError):
        arguments, _ = parser.parse_known_args(list(words))
        yield from (service for service in connect(arguments).services() if _SAFE.issuperset(service))
