"""The calls that commands make, on a collector over HTTP or on a storage in this process."""

from collections.abc import Sequence
from typing import Any, Protocol

from profbucket.errors import ProfbucketError
from profbucket.model.ids import ProfileId
from profbucket.model.merge_options import MergeOptions
from profbucket.model.meta import Meta, Page, Query
from profbucket.model.profile_type import ProfileType
from profbucket.model.upload import Upload


class ProfileClient(Protocol):
    """A collector or a storage. Both implementations raise the same errors, with the same codes."""

    def store_batch(self, uploads: Sequence[Upload]) -> list[Meta | ProfbucketError]:
        """Store all of *uploads* that can be; return the record or the error of each, in order.

        Storing the same profile again changes nothing.
        """
        ...

    def find(self, query: Query) -> Page:
        """Return a page of the profiles that match *query*, oldest first; raise ``NotFound`` if there are none."""
        ...

    def read(self, profile_id: ProfileId) -> bytes:
        """Return a profile as it was stored."""
        ...

    def merge(self, query: Query, options: MergeOptions = MergeOptions()) -> bytes:
        """Return the merge of all profiles that match *query*: a gzip pprof, unless *options* have a format."""
        ...

    def merge_ids(self, ids: Sequence[ProfileId]) -> bytes:
        """Return the merge of the profiles with these *ids*, as gzipped pprof."""
        ...

    def services(self) -> list[str]:
        """Return the names of all services that have profiles."""
        ...

    def labels(self, service: str, profile_type: ProfileType | None = None) -> dict[str, Any]:
        """Return the profile types and labels of *service*, or of those that meet this condition.

        Labels are those of *profile_type*, if it is given. The form is that of ``GET /api/0/labels``.
        """
        ...
