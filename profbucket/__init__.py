"""A continuous-profiling collector that lives in a bucket."""

from importlib import metadata

try:
    __version__ = metadata.version("profbucket")
except metadata.PackageNotFoundError:  # laid out as source, as in a Cloud Function's archive
    __version__ = "0.1.0"
