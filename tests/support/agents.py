"""Requests of other systems' agents."""

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
