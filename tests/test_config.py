"""Settings: read once, refused by name."""

from dataclasses import fields, replace

import pytest

from profbucket.config import Config
from profbucket.errors import Misconfigured
from profbucket.limits import Limits
from profbucket.periods import CompactionPolicy

MEMORY = {"STORAGE_URL": "memory:"}


def test_without_settings_but_a_storage_the_defaults_hold() -> None:
    assert Config.from_env(MEMORY) == Config("memory:", Limits())


def test_without_a_storage_there_is_no_config() -> None:
    with pytest.raises(Misconfigured, match="STORAGE_URL is not set"):
        Config.from_env({})


@pytest.mark.parametrize("field", [field.name for field in fields(Limits)])
def test_every_cap_has_a_setting(field: str) -> None:
    config = Config.from_env({**MEMORY, f"PROFBUCKET_MAX_{field.upper()}": "7"})
    assert config.limits == Limits(**{field: 7})


@pytest.mark.parametrize("field", [field.name for field in fields(CompactionPolicy)])
def test_every_period_has_a_setting(field: str) -> None:
    config = Config.from_env({**MEMORY, f"PROFBUCKET_BLOCK_{field.upper()}": "86400"})
    assert config.periods == replace(CompactionPolicy(), **{field: 86400})


@pytest.mark.parametrize("value", ["-1", "1.5", "often", "1234567890"])
def test_a_period_that_is_no_number_is_refused_by_name_and_value(value: str) -> None:
    with pytest.raises(Misconfigured, match=f"PROFBUCKET_BLOCK_EVERY='{value}': it is a whole number of seconds"):
        Config.from_env({**MEMORY, "PROFBUCKET_BLOCK_EVERY": value})


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "1e3", "many", " 7", "\uff19", "9" * 400])
def test_a_cap_that_is_no_number_from_1_is_refused_by_name_and_value(value: str) -> None:
    with pytest.raises(Misconfigured, match=r"PROFBUCKET_MAX_MERGE='.*': it is a whole number from 1"):
        Config.from_env({**MEMORY, "PROFBUCKET_MAX_MERGE": value})


def test_a_service_can_not_be_longer_than_a_file_system_takes() -> None:
    with pytest.raises(Misconfigured, match="from 1 to 240"):
        Config.from_env({**MEMORY, "PROFBUCKET_MAX_SERVICE_BYTES": "241"})


def test_the_names_that_a_platform_may_put_into_urls_are_the_services_and_the_functions() -> None:
    platform = {**MEMORY, "K_SERVICE": "shop-merge", "FUNCTION_TARGET": "merge", "PROFBUCKET_ANONYMOUS": "1"}
    assert Config.from_env(platform).function_names == {"shop-merge", "merge"}


def test_on_cloud_functions_keys_are_needed_unless_anyone_is_let_in_on_purpose() -> None:
    cloud = {**MEMORY, "K_SERVICE": "write"}
    with pytest.raises(Misconfigured, match="PROFBUCKET_KEYS is not set"):
        Config.from_env(cloud)
    assert Config.from_env({**cloud, "PROFBUCKET_ANONYMOUS": "1"}).anonymous
    key = '[{"name": "a", "sha256": "%s", "scopes": ["read"]}]' % ("0" * 64)
    assert Config.from_env({**cloud, "PROFBUCKET_KEYS": key}).keys


@pytest.mark.parametrize("value", ["yes", "true", "2"])
def test_anonymous_is_0_or_1_and_nothing_that_may_mean_either(value: str) -> None:
    with pytest.raises(Misconfigured, match=f"PROFBUCKET_ANONYMOUS={value!r}"):
        Config.from_env({**MEMORY, "PROFBUCKET_ANONYMOUS": value})


@pytest.mark.parametrize(("value", "level"), [("", "INFO"), ("debug", "DEBUG"), ("Warning", "WARNING")])
def test_the_level_of_the_log_is_a_word(value: str, level: str) -> None:
    assert Config.from_env({**MEMORY, "PROFBUCKET_LOG_LEVEL": value}).log_level == level


def test_another_word_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(
        Misconfigured, match="PROFBUCKET_LOG_LEVEL='loud': it is one of debug, info, warning, error"
    ):
        Config.from_env({**MEMORY, "PROFBUCKET_LOG_LEVEL": "loud"})


def test_the_project_of_traces_is_the_platforms() -> None:
    assert Config.from_env({**MEMORY, "GOOGLE_CLOUD_PROJECT": "shop"}).project == "shop"
