"""Requests of other systems' agents."""

import json

from profbucket.ingest.pyroscope_push_pb2 import PushRequest


def push(service: str, name: str, *profiles: bytes, **labels: str) -> bytes:
    """Return a PushRequest with one series, whose label ``__name__`` is *name*."""
    request = PushRequest()
    add_series(request, {"__name__": name, "service_name": service, **labels}, *profiles)
    return request.SerializeToString()


def add_series(request: PushRequest, labels: dict[str, str], *profiles: bytes) -> None:
    """Add a series of *profiles* to *request*."""
    series = request.series.add()
    for key, value in labels.items():
        series.labels.add(name=key, value=value)
    for profile in profiles:
        series.samples.add(raw_profile=profile, ID="6d1b")


def make_form(profile: bytes) -> bytes:
    """Return a form of Datadog's with the boundary ``b`` and the part *profile*."""
    event = json.dumps({"start": "2026-11-22T22:25:33Z", "family": "python", "tags_profiler": "service:shop"})
    parts = {"event": event.encode(), "profile.pprof": profile}
    form = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n%s\r\n'
        % (name.encode(), name.encode(), data)
        for name, data in parts.items()
    )
    return form + b"--b--\r\n"
