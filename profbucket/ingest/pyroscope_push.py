"""``POST /push.v1.PusherService/Push``, the call of Pyroscope's clients for Python, Ruby, .NET and of Alloy."""

from functools import partial

from google.protobuf.message import DecodeError

from profbucket.errors import Invalid, ProfbucketError
from profbucket.ingest import pyroscope
from profbucket.ingest.pyroscope_push_pb2 import PushRequest, RawProfileSeries
from profbucket.ingest.upload import check_json_size, split_by_type
from profbucket.limits import Limits
from profbucket.model.upload import Upload, Uploads
from profbucket.pprof.json_message import parse_json_message
from profbucket.pprof.precheck import Fields, count_entries
from profbucket.pprof.wire import delimited_tag

# The fields that are messages: series, and in them labels and samples.
_FIELDS: Fields = {delimited_tag(1): {delimited_tag(1): {}, delimited_tag(2): {}}}


def read_push(body: bytes, *, is_json: bool, limits: Limits) -> Uploads:
    """Return the profiles in a PushRequest.

    Raises:
        Invalid: *body* is not a PushRequest.
        TooLarge: it has more profiles or entries than *limits* allow.
    """
    request = _parse_json(body, limits) if is_json else _parse(body, limits)
    count = sum(len(series.samples) for series in request.series)
    if count > limits.profiles:
        raise limits.too_large("profiles", f"the request has {count} profiles")
    return _read_all(request, limits)


def _read_all(request: PushRequest, limits: Limits) -> Uploads:
    for number, series in enumerate(request.series, 1):
        source = f"series {number}"
        try:
            yield from _read_series(series, source, limits)
        except ProfbucketError as error:
            yield error.about(source)


def _read_series(series: RawProfileSeries, source: str, limits: Limits) -> Uploads:
    pairs = [(label.name, label.value) for label in series.labels]
    name = next((value for key, value in pairs if key == "__name__"), "")
    if not name:
        raise Invalid("the label '__name__' is missing", code="missing_parameter")
    service, labels = pyroscope.make_labels("", pairs)
    if not service:
        raise Invalid("the label 'service_name' is missing", code="missing_parameter")
    for sample in series.samples:
        try:
            choose_types = partial(pyroscope.choose_types_of_series, name)
            profiles = split_by_type(sample.raw_profile, limits, choose_types)
        except ProfbucketError as error:
            yield error.about(source)
            continue
        for profile_type, (data, content) in profiles.items():
            yield Upload(service, profile_type, labels, data, source=source, content=content)


def _parse(body: bytes, limits: Limits) -> PushRequest:
    try:
        count_entries(body, limits, _FIELDS)
        return PushRequest.FromString(body)
    except (DecodeError, Invalid):
        raise Invalid("the body is not a PushRequest: malformed protobuf", code="invalid_protobuf") from None


def _parse_json(body: bytes, limits: Limits) -> PushRequest:
    check_json_size(body, limits)
    return parse_json_message(body, PushRequest, "PushRequest")
