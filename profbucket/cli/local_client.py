"""A :class:`~profbucket.cli.client.ProfileClient` that opens the storage itself, without a collector."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from profbucket.config import Config
from profbucket.errors import ProfbucketError
from profbucket.ingest.collector import Collector
from profbucket.model.ids import ProfileId, check_service
from profbucket.model.merge_options import MergeOptions
from profbucket.model.meta import Meta, Page, Query
from profbucket.model.profile_type import ProfileType
from profbucket.model.upload import Upload
from profbucket.query.querier import Querier
from profbucket.query.services import parse_condition
from profbucket.times import LATEST


class LocalClient:
    """The storage of *config*; with *create*, a directory that does not exist is created."""

    def __init__(self, config: Config, *, create: bool = False) -> None:
        self._limits = config.limits
        storage = config.open_storage(create=create)
        self._collector = Collector(storage, config.limits)
        self._querier = Querier(storage, config.limits)

    def store_batch(self, uploads: Sequence[Upload]) -> list[Meta | ProfbucketError]:
        return self._collector.store_batch(uploads)

    def find(self, query: Query) -> Page:
        return self._querier.find(self._check(query))

    def read(self, profile_id: ProfileId) -> bytes:
        return self._querier.read(profile_id)

    def merge(self, query: Query, options: MergeOptions = MergeOptions()) -> bytes:
        return self._querier.merge(self._check(query), options).data

    def merge_ids(self, ids: Sequence[ProfileId]) -> bytes:
        return self._querier.merge_ids(ids).data

    def services(self) -> list[str]:
        return self._querier.services()

    def labels(self, service: str, profile_type: ProfileType | None = None) -> dict[str, Any]:
        query = self._check(Query(service, profile_type, 0, LATEST))
        return self._querier.label_values(query.services or (service,), profile_type).to_json()

    def _check(self, query: Query) -> Query:
        """Return *query* with the services that it selects; raise ``Invalid`` for what a collector refuses."""
        for matcher in query.matchers:
            matcher.compile()
        if condition := parse_condition(query.service):
            return replace(query, services=self._querier.select_services([condition]))
        check_service(query.service, self._limits)
        return query
