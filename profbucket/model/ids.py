"""Ids of profiles and keys of objects, both ways.

A raw profile is the object ``<service>/<type>/<timestamp>-<digest>.pb.gz``, a Go trace ends in ``.trace``; the
id is the key without its ending. In service names all but letters, digits, ``.``, ``-`` and ``_`` is written
``~`` and two hex digits for each byte of UTF-8, so that an id needs no escaping in a URL, a shell or a file
name. What is not a raw profile lies under ``_/``.
"""

import re
from dataclasses import dataclass
from hashlib import sha256

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.model.labels import CONTROL, Labels
from profbucket.model.profile_type import ProfileType
from profbucket.times import LATEST, format_stamp, parse_stamp

RESERVED = "_"  # no service is called so: everything that is not a raw profile lies below it
BLOCKS = f"{RESERVED}/blocks/"

ProfileName = tuple[int, str]  # what tells a profile from all others of its service and type: see Id.name

_PLAIN = re.compile(r"[A-Za-z0-9._-]", re.ASCII)
_ESCAPED = re.compile(r"(?:[A-Za-z0-9._-]|~[0-9A-F]{2})+", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{16}", re.ASCII)
_ENDINGS = {True: ".pb.gz", False: ".trace"}


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
        """Read an id, or raise ``Invalid``. Only what ``str`` of an id gives is read: one profile, one id."""
        try:
            service, profile_type, name = text.split("/")
            stamp, digest = name.split("-")
            profile_id = cls(unescape_service(service), ProfileType(profile_type), parse_stamp(stamp), digest)
            known = _DIGEST.fullmatch(digest) and 0 <= profile_id.created_at <= LATEST
            if not known or str(profile_id) != text:
                raise ValueError(text)
        except ValueError:
            raise Invalid(f"not a profile's id: {text[:120]!r}") from None
        return profile_id

    @property
    def name(self) -> ProfileName:
        """When it was created and its digest: what it is called among those of its service and type."""
        return self.created_at, self.digest

    @property
    def object_key(self) -> str:
        """The key of the object that holds the profile."""
        return f"{self}{_ENDINGS[self.type.is_pprof]}"

    @classmethod
    def from_object_key(cls, key: str) -> "ProfileId":
        """The id of the profile under *key*, or raise ``Invalid``."""
        for ending in _ENDINGS.values():
            if key.endswith(ending) and (profile_id := cls.parse(key.removesuffix(ending))).object_key == key:
                return profile_id
        raise Invalid(f"not a profile's key: {key[:120]!r}")


def profile_digest(service: str, profile_type: ProfileType, labels: Labels, created_at: int, data: bytes) -> str:
    """What makes a profile itself, in 16 hex digits: posted again, it has the same id."""
    head = "\0".join((service, profile_type, labels.format(), str(created_at)))
    hashed = sha256(f"{len(head)}\0{head}".encode())
    hashed.update(data)
    return hashed.hexdigest()[:16]


def check_service(service: str, limits: Limits) -> None:
    """Raise ``Invalid`` for what no service can be called."""
    if not service:
        raise Invalid("service is missing: say which with service=")
    if CONTROL.search(service):
        raise Invalid(f"a control character in the service's name: {service[:80]!r}")
    if (size := len(escape_service(service))) > limits.service_bytes:
        raise limits.invalid("service_bytes", f"the service's name has {size} bytes, escaped")


def profile_prefix(service: str, profile_type: ProfileType | None = None) -> str:
    """What the keys of all profiles of *service* (and *profile_type*) begin with, and no other key."""
    return f"{escape_service(service)}/" if profile_type is None else f"{escape_service(service)}/{profile_type}/"


def block_prefix(service: str, profile_type: ProfileType) -> str:
    """What the keys of all blocks of *service* and *profile_type* begin with, and no other key."""
    return f"{BLOCKS}{profile_prefix(service, profile_type)}"


def block_key(service: str, profile_type: ProfileType, first: int, members: str) -> str:
    """The key of the block whose first member was created at *first*; *members* is a text that only it has.

    It does not end as a profile does: the lifecycle rule of those would take it.
    """
    digest = sha256(members.encode()).hexdigest()[:16]
    return f"{block_prefix(service, profile_type)}{format_stamp(first)}-{digest}.block"


def parse_block_key(key: str) -> tuple[str, ProfileType]:
    """The service and type of the block under *key*, or raise ``Invalid``."""
    if key.startswith(BLOCKS) and key.endswith(".block"):
        block = ProfileId.parse(key.removeprefix(BLOCKS).removesuffix(".block"))
        return block.service, block.type
    raise Invalid(f"not a block's key: {key[:120]!r}")


def escape_service(service: str) -> str:
    """*service* in a URL-safe alphabet; never hidden, ``.``, ``..`` or what is reserved."""
    text = "".join(c if _PLAIN.match(c) else "".join(f"~{byte:02X}" for byte in c.encode()) for c in service)
    return f"~{ord(text[0]):02X}{text[1:]}" if text.startswith(".") or text == RESERVED else text


def unescape_service(text: str) -> str:
    """The service that :func:`escape_service` wrote as *text*, or raise ``ValueError``."""
    if not _ESCAPED.fullmatch(text):
        raise ValueError(f"not an escaped name: {text[:80]!r}")
    service = re.sub("~(..)", lambda match: chr(int(match[1], 16)), text).encode("latin-1").decode()
    if escape_service(service) != text:
        raise ValueError(f"an escaped name that is written otherwise: {text[:80]!r}")
    return service
