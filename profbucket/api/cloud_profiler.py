"""The routes of Google Cloud Profiler's API v2."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from flask import Response, request

from profbucket.api.authentication import authenticate_request
from profbucket.api.error_bodies import google_error
from profbucket.api.params import Parameters
from profbucket.api.uploads import UploadStore
from profbucket.auth import ApiKey, Authenticator, Scope
from profbucket.errors import Invalid, NotFound
from profbucket.ingest.cloud_profiler import (
    PROFILE_TYPES,
    UNSPECIFIED_TYPE,
    format_duration,
    make_id,
    parse_id,
    read_create,
    read_profile,
)
from profbucket.ingest.cloud_schedule import Schedule
from profbucket.limits import Limits
from profbucket.model.ids import ProfileId
from profbucket.model.meta import Meta, Query
from profbucket.query.querier import Querier
from profbucket.telemetry.request import current_record
from profbucket.times import LATEST, format_time

_DISCOVERY = Path(__file__).with_name("cloud_profiler.json")
_PAGE_PROFILES = 100  # in a list, by default
_MAX_PAGE_PROFILES = 1000
_TYPE_NAMES = {profile_type: name for name, profile_type in PROFILE_TYPES.items()}


class CloudProfilerRoutes:
    """The views of agents, which take profiles when *schedule* says; *uploads* stores them."""

    def __init__(self, uploads: UploadStore, limits: Limits, schedule: Schedule, clock: Callable[[], int]) -> None:
        self._uploads = uploads
        self._limits = limits
        self._schedule = schedule
        self._clock = clock

    def views(self) -> Mapping[str, Callable[..., Response]]:
        """Return each operation's view."""
        return {
            "discoverCloudProfiler": self.discover,
            "createCloudProfile": self.create,
            "createOfflineCloudProfile": self.create_offline,
            "patchCloudProfile": self.patch,
        }

    def discover(self) -> Response:
        """Return the description of the API, whose root is the URL of this request."""
        root = request.url_root
        if request.headers.get("X-Forwarded-Proto") == "https":  # TLS ends at a proxy
            root = f"https:{root.partition(':')[2]}"
        description = json.loads(_DISCOVERY.read_text(encoding="utf-8"))
        return _json({**description, "rootUrl": root, "baseUrl": root})

    def create(self, project: str) -> Response:
        """Tell an agent to take a profile, or when to ask again."""
        api_key = self._uploads.authenticate()
        with self._uploads.body() as body:
            asked = read_create(body, self._limits)
        deployment = asked.deployment
        api_key.require(Scope.WRITE, deployment.service)
        now = self._clock()
        work = self._schedule.next(deployment.to_json(), asked.profile_types, now)
        if isinstance(work, int):
            current_record().set_subject(deployment.service, None)
            message = "no profile is due; ask again later"
            return google_error(409, code="profile_not_due", message=message, retry_delay=work)
        current_record().set_subject(deployment.service, PROFILE_TYPES[work.profile_type])
        return _json(
            {
                "name": f"projects/{project}/profiles/{make_id(now)}",
                "profileType": work.profile_type,
                "duration": format_duration(work.duration),
                "deployment": deployment.to_json(),
            }
        )

    def patch(self, project: str, profile_id: str) -> Response:
        """Store the profile that an agent was asked to take."""
        api_key = self._uploads.authenticate()
        return self._store(api_key, f"projects/{project}/profiles/{profile_id}", parse_id(profile_id))

    def create_offline(self, project: str) -> Response:
        """Store a profile that was taken without being asked for."""
        api_key = self._uploads.authenticate()
        return self._store(api_key, f"projects/{project}/profiles/{make_id(self._clock())}", None)

    def _store(self, api_key: ApiKey, name: str, created_at: int | None) -> Response:
        with self._uploads.body() as body:
            profile_type, deployment, upload = read_profile(body, self._limits, created_at)
            api_key.require(Scope.WRITE, deployment.service)
            self._uploads.store(api_key, iter([upload] if upload else []))
        return _json({"name": name, "profileType": profile_type, "deployment": deployment.to_json()})


class CloudProfilerListRoutes:
    """The view that lists the profiles in *querier*."""

    def __init__(self, querier: Querier, authenticator: Authenticator) -> None:
        self._querier = querier
        self._authenticator = authenticator

    def views(self) -> Mapping[str, Callable[..., Response]]:
        """Return each operation's view."""
        return {"listCloudProfiles": self.list_profiles}

    def list_profiles(self, project: str) -> Response:
        """List the profiles of all services, by service and time."""
        api_key = authenticate_request(self._authenticator, Scope.READ)
        parameters = Parameters(request.args)
        size = min(parameters.positive_integer("pageSize") or _PAGE_PROFILES, _MAX_PAGE_PROFILES)
        profiles, token = self._read_page(api_key, _parse_token(parameters.get("pageToken")), size)
        current_record().counts = {"found": len(profiles)}
        page: dict[str, Any] = {"profiles": [_to_json(project, meta) for meta in profiles]}
        return _json({**page, "nextPageToken": token} if token else page)

    def _read_page(self, api_key: ApiKey, after: ProfileId | None, size: int) -> tuple[list[Meta], str]:
        """Return the profiles after *after*, at most *size*, and the token of the next page, or ``""``."""
        try:
            services = self._querier.services(api_key.may_access)
        except NotFound:
            return [], ""
        profiles: list[Meta] = []
        for service in services:
            if after is not None and service < after.service:
                continue
            query = Query(service=service, type=None, start=0, end=LATEST, limit=size - len(profiles))
            if after is not None and service == after.service:
                query = replace(query, start=after.created_at, after=(after.created_at, str(after)))
            try:
                page = self._querier.find(query)
            except NotFound:
                continue
            profiles += page.profiles
            if len(profiles) == size:
                return profiles, profiles[-1].id
        return profiles, ""


def _parse_token(text: str) -> ProfileId | None:
    try:
        return ProfileId.parse(text) if text else None
    except Invalid:
        raise Invalid(f"pageToken={text[:80]!r} is not a nextPageToken", code="invalid_parameter") from None


def _to_json(project: str, meta: Meta) -> dict[str, Any]:
    return {
        "name": f"projects/{project}/profiles/{meta.id.replace('/', ':')}",
        "profileType": _TYPE_NAMES.get(meta.type, UNSPECIFIED_TYPE),
        "deployment": {"projectId": project, "target": meta.service, "labels": dict(meta.labels)},
        "startTime": format_time(meta.created_at),
    }


def _json(value: Any) -> Response:
    return Response(json.dumps(value) + "\n", content_type="application/json")
