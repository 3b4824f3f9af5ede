"""The metadata of objects in a directory storage, which are in trailers or in files of their own."""

from pathlib import Path

from storage_local.trailer import make_trailer, read_trailer


def metadata_file(file: Path) -> Path:
    """Return the file that holds the metadata of the object *file*, if that has no trailer."""
    return file.with_name(f".{file.name}.json")


def read_metadata(file: Path) -> bytes:
    """Return the JSON of the metadata of the object *file*; ``b""`` without metadata."""
    with file.open("rb") as opened:
        trailer = read_trailer(opened.fileno(), file.stat().st_size)
    if trailer.size:
        return trailer.text or b""
    return metadata_file(file).read_bytes() if metadata_file(file).exists() else b""


def write_metadata(file: Path, text: bytes | None) -> None:
    """Replace the JSON of the metadata of the object *file*, or with ``None`` remove them."""
    with file.open("rb") as opened:
        size = read_trailer(opened.fileno(), file.stat().st_size).size
    if not size:
        if text is None:
            metadata_file(file).unlink(missing_ok=True)
        else:
            metadata_file(file).write_bytes(text)
        return
    data = file.read_bytes()[:-size]
    file.write_bytes(data + (b"" if text is None else make_trailer(file.name, data, text)))
