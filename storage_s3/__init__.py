"""Any S3-compatible bucket holds the profiles: AWS S3, MinIO, Ceph. Another backend's index finds them."""

from urllib.parse import parse_qsl, urlsplit

from profbucket.errors import Misconfigured
from storage_s3.bucket import S3Bucket

__all__ = ["LIBRARIES", "S3Bucket", "open_url"]

LIBRARIES = ("boto3",)

_FORM = "s3://bucket?endpoint=https://…&region=…&style=path&index=…"


def open_url(url: str) -> tuple[S3Bucket, None]:
    """The bucket of ``s3://bucket?endpoint=…&region=…&style=…``; all options may be left out.

    ``endpoint`` is where it is, if not at AWS; ``style`` is ``virtual`` (``bucket.host``) or ``path``
    (``host/bucket``, the default where there is an endpoint). There is no index of its own. Nothing is reached
    before the first call. Raise ``Misconfigured`` for another kind of URL.
    """
    parts = urlsplit(url)
    if not parts.netloc or parts.path.strip("/") or parts.fragment or "@" in parts.netloc:
        raise Misconfigured(f"STORAGE_URL={url!r}: write a bucket as {_FORM}")
    options: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in ("endpoint", "region", "style") or not value or name in options:
            raise Misconfigured(f"STORAGE_URL={url!r}: option {name!r} is unknown, empty or given twice: {_FORM}")
        options[name] = value
    endpoint, style = options.get("endpoint"), options.get("style")
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise Misconfigured(f"STORAGE_URL={url!r}: endpoint= is a URL, http:// or https://")
    if style not in (None, "path", "virtual"):
        raise Misconfigured(f"STORAGE_URL={url!r}: style= is path or virtual")
    style = style or ("path" if endpoint else "virtual")
    return S3Bucket(parts.netloc, endpoint, options.get("region"), style), None
