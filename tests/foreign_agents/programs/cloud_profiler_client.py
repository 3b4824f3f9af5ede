"""A program with google-cloud-profiler: ``cloud_profiler_client.py URL SERVICE KEY``."""

import json
import os
import sys
from tempfile import NamedTemporaryFile

url, service, key = sys.argv[1:]
# Application default credentials of which only the token is used: it does not expire.
credentials = {
    "type": "authorized_user",
    "client_id": "x",
    "client_secret": "x",
    "refresh_token": "x",
    "token": key,
    "expiry": "2999-01-01T00:00:00Z",
}
with NamedTemporaryFile("w", suffix=".json", delete=False) as file:
    json.dump(credentials, file)
os.environ["GOOGLE_APPLICATION_CREDENTIALS"] = file.name

import googlecloudprofiler  # type: ignore[import-not-found] # noqa: E402
from work import work  # type: ignore[import-not-found] # noqa: E402

googlecloudprofiler.start(
    service=service,
    service_version="1.2.3",
    project_id="demo-project",
    verbose=3,
    discovery_service_url=f"{url}/$discovery/rest?version={{apiVersion}}",
)
while True:
    work(1.0)
