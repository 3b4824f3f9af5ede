"""Settings from the environment, and errors that name the invalid one."""

from dataclasses import fields, replace

import pytest

from profbucket.config import Config
from profbucket.errors import Misconfigured
from profbucket.ingest.collector import Collector
from profbucket.limits import Limits
from profbucket.model.labels import Labels
from profbucket.model.profile_type import ProfileType
from profbucket.periods import CompactionPolicy
from profbucket.times import LATEST
from tests.support.api import pprof

MEMORY = {"STORAGE_URL": "memory:"}


def test_only_the_storage_url_is_required() -> None:
    assert Config.from_env(MEMORY) == Config("memory:", Limits())


def test_a_missing_storage_url_is_an_error() -> None:
    with pytest.raises(Misconfigured, match="STORAGE_URL is not set"):
        Config.from_env({})


@pytest.mark.parametrize("field", Limits.names())
def test_every_limit_has_a_setting(field: str) -> None:
    config = Config.from_env({**MEMORY, f"PROFBUCKET_MAX_{field.upper()}": "7"})
    assert config.limits == replace(Limits(), **{field: 7})  # type: ignore[arg-type]


@pytest.mark.parametrize("field", [field.name for field in fields(CompactionPolicy)])
def test_every_period_has_a_setting(field: str) -> None:
    config = Config.from_env({**MEMORY, f"PROFBUCKET_BLOCK_{field.upper()}": "86400"})
    assert config.periods == replace(CompactionPolicy(), **{field: 86400})


@pytest.mark.parametrize("value", ["-1", "1.5", "often", "1234567890"])
def test_an_invalid_period_is_an_error(value: str) -> None:
    with pytest.raises(Misconfigured, match=f"PROFBUCKET_BLOCK_EVERY='{value}': it must be a whole number"):
        Config.from_env({**MEMORY, "PROFBUCKET_BLOCK_EVERY": value})


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "1e3", "many", " 7", "\uff19", "9" * 400])
def test_an_invalid_limit_is_an_error(value: str) -> None:
    with pytest.raises(Misconfigured, match=r"PROFBUCKET_MAX_MERGE='.*': it must be a whole number from 1"):
        Config.from_env({**MEMORY, "PROFBUCKET_MAX_MERGE": value})


def test_dropped_labels_are_keys_separated_by_commas() -> None:
    def parse(text: str) -> tuple[str, ...]:
        return Config.from_env({**MEMORY, "PROFBUCKET_DROPPED_LABELS": text}).limits.dropped_labels

    assert parse("thread id, request,,thread id") == ("thread id", "request")
    assert parse("") == ()
    with pytest.raises(Misconfigured, match="PROFBUCKET_DROPPED_LABELS has 101 keys"):
        parse(",".join(map(str, range(101))))


def test_the_longest_service_name_fits_into_a_file_name() -> None:
    with pytest.raises(Misconfigured, match="from 1 to 240"):
        Config.from_env({**MEMORY, "PROFBUCKET_MAX_SERVICE_BYTES": "241"})


def test_function_names_are_those_of_the_service_and_the_function() -> None:
    platform = {**MEMORY, "K_SERVICE": "shop-merge", "FUNCTION_TARGET": "merge", "PROFBUCKET_ANONYMOUS": "1"}
    assert Config.from_env(platform).function_names == {"shop-merge", "merge"}


def test_on_cloud_functions_keys_or_anonymous_access_are_required() -> None:
    cloud = {**MEMORY, "K_SERVICE": "write"}
    with pytest.raises(Misconfigured, match="PROFBUCKET_KEYS is not set"):
        Config.from_env(cloud)
    assert Config.from_env({**cloud, "PROFBUCKET_ANONYMOUS": "1"}).anonymous
    key = '[{"name": "a", "sha256": "%s", "scopes": ["read"]}]' % ("0" * 64)
    assert Config.from_env({**cloud, "PROFBUCKET_KEYS": key}).keys


@pytest.mark.parametrize("value", ["yes", "true", "2"])
def test_anonymous_is_0_or_1(value: str) -> None:
    with pytest.raises(Misconfigured, match=f"PROFBUCKET_ANONYMOUS={value!r}"):
        Config.from_env({**MEMORY, "PROFBUCKET_ANONYMOUS": value})


@pytest.mark.parametrize(("value", "level"), [("", "INFO"), ("debug", "DEBUG"), ("Warning", "WARNING")])
def test_log_levels(value: str, level: str) -> None:
    assert Config.from_env({**MEMORY, "PROFBUCKET_LOG_LEVEL": value}).log_level == level


def test_an_unknown_log_level_is_an_error() -> None:
    with pytest.raises(
        Misconfigured, match="PROFBUCKET_LOG_LEVEL='loud': it must be one of debug, info, warning, error"
    ):
        Config.from_env({**MEMORY, "PROFBUCKET_LOG_LEVEL": "loud"})


def test_the_project_is_read_from_the_platforms_variable() -> None:
    assert Config.from_env({**MEMORY, "GOOGLE_CLOUD_PROJECT": "shop"}).project == "shop"


def test_kinds_of_sample_types_are_rules() -> None:
    kinds = Config.from_env(
        {**MEMORY, "PROFBUCKET_SAMPLE_KINDS": "heap/a%2Cb=instant, */c/count=sum"}
    ).limits.sample_kinds
    assert kinds == (("heap", "a,b", "*", "instant"), ("*", "c", "count", "sum"))
    with pytest.raises(Misconfigured, match=r"PROFBUCKET_SAMPLE_KINDS: .*'heap/objects=often'"):
        Config.from_env({**MEMORY, "PROFBUCKET_SAMPLE_KINDS": "heap/objects=often"})


def test_a_storage_is_opened_with_the_settings() -> None:
    """The policy of compaction decides when a profile is due, and the limits what a lookup may read."""
    config = Config("memory:", Limits(groups=7), CompactionPolicy(short=600, long=3600))
    storage = config.open_storage()
    assert storage.limits is config.limits
    Collector(storage).collect("shop", ProfileType.CPU, Labels(), pprof(at=10**18))
    [task] = storage.index.due_tasks(LATEST, 10)
    assert task.period == 600


@pytest.mark.parametrize(
    ("misspelt", "setting"),
    [("PROFBUCKET_MAX_MEGE", "PROFBUCKET_MAX_MERGE"), ("PROFBUCKET_BLOCK_WAITS", "PROFBUCKET_BLOCK_WAIT")],
)
def test_a_misspelt_setting_is_named(misspelt: str, setting: str) -> None:
    with pytest.raises(Misconfigured, match=f"there is no setting {misspelt}; did you mean {setting}?"):
        Config.from_env({**MEMORY, misspelt: "1"})


def test_variables_that_may_be_of_others_are_no_settings() -> None:
    """Kubernetes sets such variables for a service called ``profbucket``."""
    variables = {"PROFBUCKET_PORT": "tcp://10.0.0.1:80", "PROFBUCKET_SERVICE_HOST": "10.0.0.1"}
    assert Config.from_env({**MEMORY, **variables}) == Config.from_env(MEMORY)
