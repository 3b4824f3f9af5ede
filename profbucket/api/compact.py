"""The route that a scheduler calls to compact the storage."""

from collections.abc import Callable, Mapping

from flask import Response

from profbucket.api.authentication import authenticate_request
from profbucket.api.responses import json_response
from profbucket.auth import Authenticator, Scope
from profbucket.errors import ProfbucketError
from profbucket.maintenance.compactor import Action, Compactor
from profbucket.telemetry.request import current_record


class CompactRoutes:
    """The view that runs *compactor* for at most *max_seconds*."""

    def __init__(self, compactor: Compactor, authenticator: Authenticator, max_seconds: int) -> None:
        self._compactor = compactor
        self._authenticator = authenticator
        self._max_seconds = max_seconds

    def views(self) -> Mapping[str, Callable[..., Response]]:
        """Return each operation's view."""
        return {"compact": self.post}

    def post(self) -> Response:
        """Run a compaction and return the number of steps per action, with status 500 if some profiles failed."""
        authenticate_request(self._authenticator, Scope.ADMIN)
        counts = dict.fromkeys((*map(str, Action), "profiles"), 0)
        current_record().counts = counts
        for step in self._compactor.run_due(self._max_seconds):
            counts[step.action] += 1
            counts["profiles"] += step.profiles
        failed = self._compactor.failed
        body = {**counts, "complete": self._compactor.complete, "failed": failed}
        if not failed:
            return json_response(body)
        error = ProfbucketError(
            f"{failed} errors during the compaction; the log has them, and all else was compacted",
            code="compaction_failed",
        )
        return json_response(body, error.status, error=str(error), error_code=error.code)
