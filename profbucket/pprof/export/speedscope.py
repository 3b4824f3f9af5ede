"""Profiles in speedscope's file format: https://www.speedscope.app/file-format-schema.json"""

import json

from profbucket.limits import Limits
from profbucket.pprof import profile_pb2
from profbucket.pprof.export.size import check_size
from profbucket.pprof.report.stacks import Functions, Stacks, collect_stacks
from profbucket.pprof.report.top import sample_types_to_json
from profbucket.pprof.units import find_factor

_SCHEMA = "https://www.speedscope.app/file-format-schema.json"
_UNITS = ("nanoseconds", "microseconds", "milliseconds", "seconds", "bytes")
_WEIGHT_BYTES = 22  # a number of 64 bits, a comma, brackets around the stack


def to_speedscope(message: profile_pb2.Profile, column: int, title: str, limits: Limits = Limits()) -> bytes:
    """Return *message* with a profile for each of its sample types, of which *column* is shown first.

    Samples whose value is negative are left out: speedscope has no place for them.

    Raise ``TooMany`` if the stacks have more than ``limits.frames`` frames, or the file more than
    ``limits.export_bytes``.
    """
    functions = Functions()
    profiles, size, already = [], 0, 0
    for number, sample_type in enumerate(sample_types_to_json(message)):
        stacks, values = collect_stacks(message, number, functions, limits, already=already)
        already += len(stacks.frames)
        digits = len(str(len(functions))) + 1
        size += len(stacks.frames) * digits + len(stacks) * _WEIGHT_BYTES
        check_size(size, limits)
        profiles.append(_encode_profile(stacks, values.tolist(), sample_type))
    frames = []
    for name, file, line in zip(functions.names, functions.files, functions.lines, strict=True):
        frames.append(_encode_frame(name, file, line))
        check_size(size := size + len(frames[-1]), limits)  # many functions may share one long name
    head = {"$schema": _SCHEMA, "exporter": "profbucket", "name": title, "activeProfileIndex": column}
    shared = f'"shared": {{"frames": [{",".join(frames)}]}}'
    return f'{json.dumps(head)[:-1]}, {shared}, "profiles": [{",".join(profiles)}]}}\n'.encode()


def _encode_frame(name: str, file: str, line: int) -> str:
    frame = {"name": name, **({"file": file} if file else {}), **({"line": line} if line > 0 else {})}
    return json.dumps(frame)


def _encode_profile(stacks: Stacks, values: list[int], sample_type: dict[str, str]) -> str:
    """Return the profile of one sample type as JSON."""
    unit, factor = _find_unit(sample_type["unit"])
    ends = stacks.ends.tolist()
    samples, weights = [], []
    for number, value in enumerate(values):
        if value > 0:
            frames = stacks.frames[ends[number] : ends[number + 1]].tolist()
            samples.append(f"[{','.join(map(str, frames))}]")
            weights.append(value if factor == 1 else value * factor)
    head = {
        "type": "sampled",
        "name": sample_type["type"],
        "unit": unit,
        "startValue": 0,
        "endValue": sum(weights),
    }
    return f'{json.dumps(head)[:-1]}, "samples": [{",".join(samples)}], "weights": {json.dumps(weights)}}}'


def _find_unit(unit: str) -> tuple[str, float]:
    """Return speedscope's name of *unit*, or of a unit that it can be converted to, and the factor."""
    for known in _UNITS:
        if find_factor(unit, known) == 1:
            return known, 1
    for known in ("seconds", "bytes"):
        if factor := find_factor(unit, known):
            return known, factor
    return "none", 1
