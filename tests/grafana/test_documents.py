"""docs/grafana.md and the dashboard: what they contain is valid, and a collector answers it."""

import json
import re
from typing import Any

import pytest
import yaml

from profbucket.grafana.profile_type_ids import ProfileTypeId
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from tests.grafana.test_calls import CPU, RANGE, Grafana
from tests.support.api import NOW, Api, pprof
from tests.support.paths import ROOT

DOCUMENT = (ROOT / "docs" / "grafana.md").read_text()
DASHBOARD: dict[str, Any] = json.loads((ROOT / "docs" / "grafana-dashboard.json").read_text())
METHODS = {"metrics": "SelectSeries", "profile": "SelectMergeStacktraces"}


@pytest.fixture(scope="module")
def grafana() -> Grafana:
    api = Api(Storage(MemoryBucket(), MemoryIndex()))
    api.posted(pprof(5, at=NOW), service="shop", version="1")
    return Grafana(api)


def test_the_provisioning_file_is_valid() -> None:
    [text] = re.findall(r"^```yaml\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    [source] = yaml.safe_load(text)["datasources"]
    assert source["type"] == "grafana-pyroscope-datasource"
    assert source["secureJsonData"] == {"basicAuthPassword": "$PROFBUCKET_KEY"}


@pytest.mark.parametrize("panel", DASHBOARD["panels"], ids=lambda panel: str(panel["type"]))
def test_each_panel_gets_an_answer(grafana: Grafana, panel: dict[str, Any]) -> None:
    [target] = panel["targets"]
    fields = {
        "profileTypeID": target["profileTypeId"].replace("$profile_type", CPU),
        "labelSelector": target["labelSelector"].replace("$service", "shop"),
        **({"groupBy": target["groupBy"], "step": 15} if target["groupBy"] else {}),
        **RANGE,
    }
    assert "$" not in json.dumps(fields)
    assert grafana.json(METHODS[target["queryType"]], **fields)


def test_each_variable_has_values(grafana: Grafana) -> None:
    queries = {one["name"]: one["query"] for one in DASHBOARD["templating"]["list"]}
    assert queries["datasource"] == "grafana-pyroscope-datasource"
    assert queries["profile_type"]["type"] == "profileType"
    assert queries["service"]["type"] == "labelValue"
    matchers = [f'{{__profile_type__="{CPU}"}}']
    values = grafana.json("LabelValues", name=queries["service"]["labelName"], matchers=matchers, **RANGE)
    assert values == {"names": ["shop"]}


def test_the_table_of_ids() -> None:
    rows = re.findall(r"^\| `(\w+)`[^|]*\| (.+) \|$", DOCUMENT.partition("\n## Names\n")[2], re.MULTILINE)
    ids = [text for _, cell in rows for text in re.findall(r"`([\w:]+:\w+:\w+:\w+:\w+)`", cell)]
    assert len(ids) >= 8
    for text in ids:
        assert str(ProfileTypeId.parse(text)) == text


def test_every_method_is_in_the_table(grafana: Grafana) -> None:
    table = DOCUMENT.partition("\n## What is served\n")[2]
    names = set(re.findall(r"[A-Z]\w+", " ".join(re.findall(r"`([^`]+)`", table))))
    for method in (
        "ProfileTypes",
        "LabelNames",
        "LabelValues",
        "Series",
        "SelectSeries",
        "Diff",
        "GetProfileStats",
    ):
        assert method in names
        assert grafana.post(method, b"{}", "application/json").status_code != 404
