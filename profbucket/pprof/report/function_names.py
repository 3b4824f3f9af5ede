"""Function names as `go tool pprof` shows them."""

from collections.abc import Sequence

from profbucket.pprof import profile_pb2

_PARENTHESES, _ANGLE_BRACKETS = b"()", b"<>"


def format_function_name(name: bytes, system_name: bytes) -> bytes:
    """Return how pprof shows the function *name*, which its linker calls *system_name*.

    If the two are the same and look like C++, parameters and template arguments are omitted. Unlike pprof, this
    demangles nothing: a C++ or Rust function whose profiler left the name mangled stays so.
    """
    if name and name != system_name:
        return name
    if not _looks_like_cpp(system_name):
        return system_name
    return _remove_bracketed(_remove_bracketed(system_name, *_PARENTHESES), *_ANGLE_BRACKETS)


def _looks_like_cpp(name: bytes) -> bool:
    # Java writes "class.<init>", Go "foo.(*Bar[...]).Method".
    if b".<" in name or b"])." in name:
        return False
    return b"::" in name or any(bracket in name for bracket in b"<>[]")


def _remove_bracketed(name: bytes, opening: int, closing: int) -> bytes:
    """Return *name* without what is in brackets; an unmatched bracket and all that follows it are kept."""
    kept = bytearray()
    depth, begin = 0, 0  # begin: position of the open bracket of depth 1
    for at, char in enumerate(name):
        if char == opening:
            if depth == 0:
                begin = at
            depth += 1
        elif char == closing:
            depth -= 1
            if depth < 0:
                return bytes(kept) + name[at:]
            if depth == 0:
                continue
        if depth == 0:
            kept.append(char)
    return bytes(kept) + (name[begin:] if depth else b"")


def intern_strings(message: profile_pb2.Profile) -> list[bytes]:
    """Return the string table with one object for equal strings.

    Reading ``message.string_table[i]`` copies the string, so that many functions with one long name would take
    its memory many times; comparing equal strings takes time unless they are the same object.
    """
    interned: dict[bytes, bytes] = {}
    return [interned.setdefault(text, text) for text in message.string_table]


def format_function_names(message: profile_pb2.Profile, strings: Sequence[bytes]) -> dict[int, bytes]:
    """Return the name of each function as pprof shows it, by function id; *strings* are from `intern_strings`."""
    formatted: dict[tuple[int, int], bytes] = {}
    names = {}
    for function in message.function:
        key = function.name, function.system_name
        if key not in formatted:
            name = strings[function.name]
            # Most names are kept as they are; without this, each would be formatted once per system name.
            if not name or name == strings[function.system_name]:
                key = function.system_name, function.system_name
            if key not in formatted:
                formatted[key] = format_function_name(strings[key[0]], strings[key[1]])
        names[function.id] = formatted[key]
    return names
