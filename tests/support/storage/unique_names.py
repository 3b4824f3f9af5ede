"""Empty buckets and databases on the emulators."""

from itertools import count

import urllib3

_numbers = count(1)


def new_name() -> str:
    """Return a name for a bucket or project that no other test of the session uses."""
    return f"test-{next(_numbers)}"


def new_gcs_bucket(url: str) -> str:
    """Create a bucket in the emulator at *url* and return its name."""
    name = new_name()
    answer = urllib3.request("POST", f"{url}/storage/v1/b?project=_", json={"name": name})
    assert answer.status == 200, answer.data
    return name


def new_s3_bucket(url: str) -> str:
    """Create a bucket in the emulator at *url* and return its name."""
    name = new_name()
    answer = urllib3.request("PUT", f"{url}/{name}", headers={"Authorization": "AWS testing:x"})
    assert answer.status == 200, answer.data
    return name
