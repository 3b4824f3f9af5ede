"""The deployment with targets: the function scrape, its permissions, and who may call it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from profbucket.scrape.scraper import SPREAD_SECONDS
from profbucket.scrape.targets import TARGETS_KEY, parse_targets
from tests.support.terraform.terraform import DATA, State, Terraform, copy_deployed, find_terraform
from tests.terraform.conftest import KEYS, SAMPLES
from tests.terraform.test_apply import DATABASE, GRANTS, OBJECTS, grants

TARGETS = [{"url": "http://10.0.0.5:6060", "service": "api", "labels": {"version": "1"}, "seconds": 5}]


@pytest.fixture(scope="module")
def scraping(stub: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> State:
    root: Path = tmp_path_factory.mktemp("scraping")
    copy_deployed(root, DATA)
    return Terraform(find_terraform(), root, stub).apply(access="public", keys=KEYS, targets=TARGETS, **SAMPLES)


def test_scrape_may_only_write_profiles_and_read_its_targets(scraping: State) -> None:
    """The other accounts keep their grants, and only the scheduler may call the function."""
    assert grants(scraping) == {
        **GRANTS,
        "profbucket-scrape": {
            ("roles/storage.objectCreator", "bucket", f'!resource.name.startsWith("{OBJECTS}_/")'),
            ("roles/storage.objectViewer", "bucket", f'resource.name == "{OBJECTS}_/targets.json"'),
            ("profbucket_index_writer", "project", DATABASE),
        },
        "profbucket-scheduler": {
            *GRANTS["profbucket-scheduler"],
            ("roles/run.invoker", "service profbucket-scrape", ""),
        },
    }


def test_the_function_can_read_the_targets(scraping: State) -> None:
    targets = scraping.all("google_storage_bucket_object")["targets[0]"]
    assert targets["name"] == TARGETS_KEY
    [target] = parse_targets(targets["content"])
    assert (target.service, dict(target.labels)["version"], target.seconds) == ("api", "1", 5)


def test_the_function_is_called_once_a_minute_and_has_enough_time(scraping: State) -> None:
    job = scraping.all("google_cloud_scheduler_job")['job["scrape"]']
    assert job["schedule"] == "* * * * *"
    function = scraping.all("google_cloudfunctions2_function")['function["scrape"]']
    assert function["build_config"][0]["entry_point"] == "scrape"
    # The longest timeout, the spread of starts, and a reserve.
    assert function["service_config"][0]["timeout_seconds"] >= 300 + SPREAD_SECONDS + 5
    assert job["attempt_deadline"] == f"{function['service_config'][0]['timeout_seconds']}s"
