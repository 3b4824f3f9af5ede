"""The roles a collector can have, and the routes that each role answers."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from profbucket.model.form import BATCH_PATH, PROFILES_PATH


class Role(StrEnum):
    """The job of a collector process, named after its entry point in functions/main.py."""

    WRITE = "write"  # stores profiles
    QUERY = "query"  # finds, fetches and merges profiles, and serves the web page
    MERGE = "merge"  # the URL for `go tool pprof`
    COLLECTOR = "collector"  # write and query in one process
    COMPACT = "compact"  # compaction, called by a scheduler


class Route(NamedTuple):
    """An HTTP method and a path in werkzeug's syntax, answered by *operation*.

    An operation is a view of this package and a description in openapi.json.
    """

    method: str
    path: str
    operation: str


# Operations that clients repeat all the time. If they succeed, they are logged at DEBUG.
FREQUENT = frozenset(
    {
        "postProfile",
        "postBatch",
        "ingestPyroscope",
        "pushPyroscope",
        "exportOtlp",
        "getHealth",
        "getMetrics",
    }
)

_STATUS = (
    Route("GET", "/api/0/version", "getVersion"),
    Route("GET", "/api/0/openapi.json", "getOpenapi"),
    Route("GET", "/metrics", "getMetrics"),
    Route("GET", "/healthz", "getHealth"),
    Route("GET", "/health", "getHealth"),  # Google's front end reserves /healthz on run.app
)
STATUS_PATHS = frozenset(route.path for route in _STATUS)
_WRITE = (
    Route("POST", PROFILES_PATH, "postProfile"),
    Route("POST", BATCH_PATH, "postBatch"),
    Route("POST", "/ingest", "ingestPyroscope"),
    Route("POST", "/pyroscope/ingest", "ingestPyroscope"),
    Route("POST", "/push.v1.PusherService/Push", "pushPyroscope"),
    Route("POST", "/v2/projects/<project>/profiles", "createCloudProfile"),
    Route("POST", "/v2/projects/<project>/profiles:createOffline", "createOfflineCloudProfile"),
    Route("PATCH", "/v2/projects/<project>/profiles/<profile_id>", "patchCloudProfile"),
    Route("POST", "/profiling/v1/input", "inputDatadog"),
    Route("GET", "/info", "getDatadogInfo"),
    Route("POST", "/v1development/profiles", "exportOtlp"),
)
_READ = (
    Route("GET", PROFILES_PATH, "findProfiles"),
    Route("GET", f"{PROFILES_PATH}/merge", "mergeProfiles"),
    Route("GET", "/merge", "mergeProfiles"),
    Route("GET", f"{PROFILES_PATH}/<path:ids>", "getProfiles"),
    Route("GET", f"{PROFILES_PATH}/flame", "getFlame"),
    Route("GET", "/api/0/services", "listServices"),
    Route("GET", "/api/0/labels", "listLabels"),
    Route("GET", "/api/0/tags", "listTags"),
    Route("GET", "/api/0/series", "getSeries"),
    Route("POST", "/symbolz", "symbolize"),
    Route("POST", "/symbol", "symbolize"),
    Route("POST", "/<path:path>/symbolz", "symbolize"),
    Route("POST", "/<path:path>/symbol", "symbolize"),
)
_CONNECT = (
    Route("POST", "/querier.v1.QuerierService/<method>", "callQuerier"),
    Route("POST", "/settings.v1.SettingsService/<action>", "callSettings"),
)
_GRAFANA = (
    *_CONNECT,
    Route("GET", "/pyroscope/render", "renderPyroscope"),
    Route("GET", "/pyroscope/render-diff", "renderPyroscopeDiff"),
)
_DISCOVERY = (Route("GET", "/$discovery/rest", "discoverCloudProfiler"),)
_LIST = (Route("GET", "/v2/projects/<project>/profiles", "listCloudProfiles"),)
_PAGE = (
    Route("GET", "/", "getPage"),
    Route("GET", "/ui/<path:name>", "getPageFile"),
)

# Operations that read the body. Their views do nothing before they read it but to check the request.
WITH_BODY = frozenset(route.operation for route in (*_WRITE, *_CONNECT))

ROUTES: Mapping[Role, Sequence[Route]] = {
    Role.WRITE: (*_WRITE, Route("POST", "/", "postProfile"), *_DISCOVERY, *_STATUS),
    Role.QUERY: (*_READ, *_GRAFANA, *_LIST, *_PAGE, *_STATUS),
    Role.MERGE: (
        *_READ,
        Route("GET", "/", "mergeProfiles"),
        Route("GET", "/debug/pprof/profile", "mergeProfiles"),  # pprof's default for a URL without a path
        *_STATUS,
    ),
    Role.COLLECTOR: (*_WRITE, *_DISCOVERY, *_READ, *_GRAFANA, *_LIST, *_PAGE, *_STATUS),
    Role.COMPACT: (Route("POST", "/", "compact"), *_STATUS),
}
