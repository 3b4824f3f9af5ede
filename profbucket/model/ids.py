"""Profile ids and object keys.

The object of a profile is ``<service>/<type>/<timestamp>-<digest>.pb.gz``, or ``….trace`` for a Go execution
trace. The profile's id is that key without the suffix. In the service name, every byte except letters, digits,
``.``, ``-`` and ``_`` is written as ``~`` and two hex digits, so that an id needs no escaping in a URL, a shell
or a file name. A batch of profiles of one service is ``<service>/batch/<timestamp>-<digest>.batch``; its suffix
tells it from a profile whose type is called ``batch``. All other objects are below ``_/``.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from hashlib import sha256

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.model.labels import CONTROL, Labels
from profbucket.model.profile_type import ProfileType
from profbucket.times import LATEST, format_stamp, format_time, parse_stamp

CONDITIONS = ("~", "!~")  # begin a regular expression in the place of a service name
RESERVED = "_"  # not the key of any service: the folder of all objects that are not profiles
BLOCKS = f"{RESERVED}/blocks/"
SAMPLES = f"{RESERVED}/samples/v1/"  # tables of samples; another schema has another number
QUARANTINE = f"{RESERVED}/quarantine/"  # followed by the key that the damaged object had

ProfileName = tuple[int, str]  # creation time and digest: unique within a service and type

_PLAIN = re.compile(r"[A-Za-z0-9._-]", re.ASCII)
_PLAIN_NAME = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
_ESCAPED = re.compile(r"(?:[A-Za-z0-9._-]|~[0-9A-F]{2})+", re.ASCII)
_DIGEST_LENGTH, _DIGEST_CHARACTERS = 16, set("0123456789abcdef")
_SAMPLES_KEY = re.compile(r"date=(\d{4}-\d{2}-\d{2})/service=([^/]+)/type=([^/]+)/samples\.parquet", re.ASCII)
_SUFFIXES = {True: ".pb.gz", False: ".trace"}  # by ProfileType.is_pprof
_BATCH_SUFFIX = ".batch"


@dataclass(frozen=True, slots=True)
class ProfileId:
    """A profile's id in its parts."""

    service: str
    type: ProfileType
    created_at: int
    digest: str

    def __str__(self) -> str:
        return f"{escape_service(self.service)}/{self.type}/{format_stamp(self.created_at)}-{self.digest}"

    @classmethod
    def parse(cls, text: str) -> "ProfileId":
        """Read an id, or raise ``Invalid``. Accepts only what ``str`` returns: each profile has one id."""
        try:
            service, profile_type, name = text.split("/")
            stamp, digest = name.split("-")
            profile_id = cls(unescape_service(service), ProfileType(profile_type), parse_stamp(stamp), digest)
            valid = are_digests([digest]) and 0 <= profile_id.created_at <= LATEST
            if not valid or str(profile_id) != text:
                raise ValueError(text)
        except ValueError:
            raise Invalid(f"invalid profile id {text[:120]!r}", code="invalid_profile_id") from None
        return profile_id

    @property
    def name(self) -> ProfileName:
        """The part of the id that is unique within the service and type."""
        return self.created_at, self.digest

    @property
    def object_key(self) -> str:
        """The key of the object that holds the profile."""
        return f"{self}{_SUFFIXES[self.type.is_pprof]}"

    @classmethod
    def from_object_key(cls, object_key: str) -> "ProfileId":
        """Return the id of the profile under *object_key*, or raise ``Invalid``."""
        for suffix in _SUFFIXES.values():
            if object_key.endswith(suffix):
                profile_id = cls.parse(object_key.removesuffix(suffix))
                if profile_id.object_key == object_key:
                    return profile_id
        raise Invalid(f"not the key of a profile: {object_key[:120]!r}", code="invalid_object_key")


def profile_digest(service: str, profile_type: ProfileType, labels: Labels, created_at: int, data: bytes) -> str:
    """Return 16 hex digits that identify a profile: uploaded twice, it has the same id."""
    head = "\0".join((service, profile_type, labels.format(), str(created_at)))
    content = sha256(f"{len(head)}\0{head}".encode())
    content.update(data)
    return content.hexdigest()[:_DIGEST_LENGTH]


def are_digests(texts: Collection[str]) -> bool:
    """Return whether all of *texts* are digests of profiles: much faster than one by one."""
    return set(map(len, texts)) <= {_DIGEST_LENGTH} and set("".join(texts)) <= _DIGEST_CHARACTERS


def check_service(service: str, limits: Limits) -> None:
    """Raise ``Invalid`` unless *service* is a valid service name."""
    if not service:
        raise Invalid("the service is missing; pass service=NAME", code="missing_parameter")
    if service.startswith(CONDITIONS):
        raise Invalid(
            f"invalid service name {service[:80]!r}: names that begin with '~' or '!~' stand for conditions",
            code="invalid_service",
        )
    if CONTROL.search(service):
        raise Invalid(f"control character in the service name {service[:80]!r}", code="invalid_service")
    if (size := len(escape_service(service))) > limits.service_bytes:
        raise limits.invalid("service_bytes", f"the service name has {size} bytes, escaped")


def profile_prefix(service: str, profile_type: ProfileType | None = None) -> str:
    """Return the common prefix of the keys of all profiles of *service* (and *profile_type*), and of no others."""
    folder = f"{escape_service(service)}/"
    return folder if profile_type is None else f"{folder}{profile_type}/"


def block_prefix(service: str, profile_type: ProfileType | None = None) -> str:
    """Return the common prefix of the keys of all blocks of *service* (and *profile_type*), and of no others."""
    return f"{BLOCKS}{profile_prefix(service, profile_type)}"


def block_key(service: str, profile_type: ProfileType, first: int, members: str) -> str:
    """Return the key of the block whose oldest member was created at *first*; the text *members* identifies it.

    The suffix differs from that of profiles, so that the bucket's lifecycle rule for profiles does not match it.
    """
    digest = sha256(members.encode()).hexdigest()[:16]
    return f"{block_prefix(service, profile_type)}{format_stamp(first)}-{digest}.block"


def parse_block_key(object_key: str) -> tuple[str, ProfileType]:
    """Return the service and type of the block under *object_key*, or raise ``Invalid``."""
    if object_key.startswith(BLOCKS) and object_key.endswith(".block"):
        block_id = ProfileId.parse(object_key.removeprefix(BLOCKS).removesuffix(".block"))
        return block_id.service, block_id.type
    raise Invalid(f"not the key of a block: {object_key[:120]!r}", code="invalid_object_key")


def samples_prefix(day: int) -> str:
    """Return the common prefix of the keys of all tables of samples of a *day*, which contains that time."""
    return f"{SAMPLES}date={format_time(day)[:10]}/"


def samples_key(service: str, profile_type: ProfileType, day: int) -> str:
    """Return the key of the table of samples of a service, type and *day*, in the layout of Hive."""
    folder = f"service={escape_service(service)}/type={profile_type}"
    return f"{samples_prefix(day)}{folder}/samples.parquet"


def parse_samples_key(object_key: str) -> tuple[str, ProfileType, int]:
    """Return the service, type and beginning of the day of a table of samples, or raise ``ValueError``."""
    match = _SAMPLES_KEY.fullmatch(object_key.removeprefix(SAMPLES))
    if not match:
        raise ValueError(f"not the key of a table of samples: {object_key[:120]!r}")
    service, profile_type = unescape_service(match[2]), ProfileType(match[3])
    day = parse_stamp(f"{match[1].replace('-', '')}T000000.000000000Z")
    if samples_key(service, profile_type, day) != object_key:
        raise ValueError(f"not the key of a table of samples: {object_key[:120]!r}")
    return service, profile_type, day


def batch_prefix(service: str) -> str:
    """Return the common prefix of the keys of all batches of *service*; a profile type may have the same."""
    return f"{escape_service(service)}/batch/"


def batch_name(members: Sequence[str], first: int) -> str:
    """Return the name of a batch: equal for equal *members*, ids, of which the first was created at *first*."""
    return f"{format_stamp(first)}-{sha256(chr(10).join(members).encode()).hexdigest()[:16]}"


def batch_key(service: str, name: str) -> str:
    """Return the key of the batch of *service* with that name."""
    return f"{batch_prefix(service)}{name}{_BATCH_SUFFIX}"


def parse_batch_key(object_key: str) -> tuple[str, str]:
    """Return the service and the name of the batch under *object_key*, or raise ``Invalid``."""
    if object_key.endswith(_BATCH_SUFFIX):
        batch_id = ProfileId.parse(object_key.removesuffix(_BATCH_SUFFIX))
        if batch_id.type == "batch":
            return batch_id.service, f"{format_stamp(batch_id.created_at)}-{batch_id.digest}"
    raise Invalid(f"not the key of a batch: {object_key[:120]!r}", code="invalid_object_key")


def escape_service(service: str) -> str:
    """Return *service* in a URL-safe alphabet; the result is never a hidden file's name, nor ``RESERVED``."""
    text = service
    if not _PLAIN_NAME.fullmatch(service):
        text = "".join(c if _PLAIN.match(c) else "".join(f"~{byte:02X}" for byte in c.encode()) for c in service)
    return f"~{ord(text[0]):02X}{text[1:]}" if text.startswith(".") or text == RESERVED else text


def unescape_service(text: str) -> str:
    """Return the service that :func:`escape_service` wrote as *text*, or raise ``ValueError``."""
    if not _ESCAPED.fullmatch(text):
        raise ValueError(f"not an escaped service name: {text[:80]!r}")
    service = re.sub("~(..)", lambda match: chr(int(match[1], 16)), text).encode("latin-1").decode()
    if escape_service(service) != text:
        raise ValueError(f"not the canonical escape of a service name: {text[:80]!r}")
    return service
