"""Entity tags of results: a client that has a result asks whether it is still the same, and gets 304 if it is."""

from collections.abc import Callable, Sequence
from hashlib import sha256

from flask import Response, request

from profbucket import __version__
from profbucket.config import Config
from profbucket.model.meta import Query
from profbucket.query.querier import Querier
from profbucket.times import SECOND

_MEANINGLESS = frozenset({"seconds"})  # parameters that do not change a result


class Revalidation:
    """Adds entity tags to results of *querier* over ranges that are finished.

    A range is finished when profiles of its end have been compacted: nothing new is expected, but late profiles
    are possible. A tag therefore covers what the index has in the range, the request, and this version of the
    collector with its limits. It is weak: results with the same profiles count as the same, whatever the
    compression, and even if a profile has expired since. *clock* returns nanoseconds since 1970.
    """

    def __init__(self, querier: Querier, config: Config, clock: Callable[[], int]) -> None:
        self._querier = querier
        self._clock = clock
        self._delay = (config.periods.short + config.periods.wait) * SECOND
        self._build = f"{__version__} {config.commit} {config.limits}"

    def answer(self, queries: Sequence[Query], respond: Callable[[], Response]) -> Response:
        """Return what *respond* returns for *queries*, with a tag; or 304, without a call, if the client has it.

        A response that lacks damaged profiles gets no tag: they may be repaired.
        """
        tag = self._tag(queries)
        if tag is None:
            return respond()
        known = request.if_none_match
        if known.contains_weak(tag) and not known.star_tag:  # "*" asks whether there is any result
            response = Response(status=304)
            response.vary.add("Accept-Encoding")  # as the response that the client has
        else:
            response = respond()
            if response.status_code != 200 or "X-Profbucket-Damaged" in response.headers:
                return response
        response.set_etag(tag, weak=True)
        response.headers["Cache-Control"] = "private, no-cache"
        return response

    def _tag(self, queries: Sequence[Query]) -> str | None:
        """Return the tag of the result of *queries*, or ``None`` if it would hardly ever be of use."""
        now = self._clock()
        if any(query.end > now - self._delay for query in queries):
            return None
        revision = self._querier.revision(queries)
        if revision is None:
            return None
        parameters = sorted(item for item in request.args.items() if item[0] not in _MEANINGLESS)
        ranges = [(query.start, query.end) for query in queries]  # parameters may be relative to now
        text = "\0".join(map(repr, (self._build, request.path, parameters, ranges, revision)))
        return sha256(text.encode()).hexdigest()[:32]
