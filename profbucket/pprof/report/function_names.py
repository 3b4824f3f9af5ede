"""What `go tool pprof` calls a function."""


def shown_name(name: bytes, system_name: bytes) -> bytes:
    """The name of a function that a profile calls *name* and its linker *system_name*.

    Where the two are the same and look like C++, parameters and template arguments are left out. Unlike pprof we
    demangle nothing: a C++ or Rust function that its profiler left mangled stays so.
    """
    if name and name != system_name:
        return name
    if not _looks_like_cpp(system_name):
        return system_name
    return _without(_without(system_name, b"("[0], b")"[0]), b"<"[0], b">"[0])


def _looks_like_cpp(name: bytes) -> bool:
    # Java writes "class.<init>", Go "foo.(*Bar[...]).Method".
    if b".<" in name or b"])." in name:
        return False
    return b"::" in name or any(bracket in name for bracket in b"<>[]")


def _without(name: bytes, opening: int, closing: int) -> bytes:
    """*name* without what stands between brackets; from the first bracket that closes nothing on, as it is."""
    kept = bytearray()
    depth, begin = 0, 0  # begin: where in name the open bracket of depth 1 stands
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
