"""Rename the sample types of a profile, so that it merges with those of other agents."""

from collections.abc import Mapping

from profbucket.pprof.codec import Profile, encode


def rename(profile: Profile, names: Mapping[str, str]) -> bytes | None:
    """Return *profile* as a gzip pprof, with sample types renamed by *names*; ``None`` if it has none of them.

    *profile* itself is changed. Equal profiles give equal bytes.
    """
    message = profile.message
    renamed = {}
    for number in {one.type for one in [*message.sample_type, message.period_type]}:
        name = names.get(message.string_table[number].decode(errors="replace"))
        if name is not None:
            renamed[number] = name
    for number, name in sorted(renamed.items()):
        for one in [*message.sample_type, message.period_type]:
            if one.type == number:
                one.type = len(message.string_table)
        if message.default_sample_type == number:
            message.default_sample_type = len(message.string_table)
        message.string_table.append(name.encode())
    return encode(message) if renamed else None
