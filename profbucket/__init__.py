"""A continuous-profiling collector that lives in a bucket."""


def __getattr__(name: str) -> str:
    # On use: importlib.metadata takes as long to import as a small merge does.
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import metadata

    try:
        return metadata.version("profbucket")
    except metadata.PackageNotFoundError:  # laid out as source, as in a Cloud Function's archive
        return "0.1.0"
