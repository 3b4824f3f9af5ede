"""Storage in an S3-compatible bucket: AWS S3, MinIO, Ceph. The index is another backend's."""

from urllib.parse import parse_qsl, urlsplit

from profbucket.errors import Misconfigured
from storage_s3.bucket import S3Bucket

__all__ = ["LIBRARIES", "S3Bucket", "open_url"]

LIBRARIES = ("boto3",)

_URL_FORM = "s3://bucket?endpoint=https://…&region=…&style=path&index=…"


def open_url(url: str) -> tuple[S3Bucket, None]:
    """Open the bucket at ``s3://bucket?endpoint=…&region=…&style=…``, without I/O and without an index.

    All options may be left out. Without ``endpoint`` the bucket is at AWS. ``style`` is ``virtual``
    (``bucket.host``) or ``path`` (``host/bucket``, the default with an endpoint). Raise ``Misconfigured`` for an
    invalid URL.
    """
    parts = urlsplit(url)
    if not parts.netloc or parts.path.strip("/") or parts.fragment or "@" in parts.netloc:
        raise Misconfigured(f"STORAGE_URL={url!r} is not a bucket URL; write {_URL_FORM}")
    options: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in ("endpoint", "region", "style") or not value or name in options:
            raise Misconfigured(
                f"STORAGE_URL={url!r}: option {name!r} is unknown, empty or repeated; write {_URL_FORM}"
            )
        options[name] = value
    endpoint, style = options.get("endpoint"), options.get("style")
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise Misconfigured(f"STORAGE_URL={url!r}: endpoint={endpoint} must begin with http:// or https://")
    if style not in (None, "path", "virtual"):
        raise Misconfigured(f"STORAGE_URL={url!r}: style={style} must be path or virtual")
    style = style or ("path" if endpoint else "virtual")
    return S3Bucket(parts.netloc, endpoint, options.get("region"), style), None
