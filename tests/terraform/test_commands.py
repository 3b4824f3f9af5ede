"""The commands in the outputs, run against a local collector with keys; only the host is replaced."""

import json
import os
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.bigquery import connect_bigquery, find_empty_file, translate
from tests.support.go_tool import Go, Run, run
from tests.support.paths import ROOT
from tests.support.serving import SCRIPTS, served
from tests.support.terraform.terraform import State, Terraform
from tests.terraform.conftest import KEYS, SECRETS

CPU = ROOT / "tests" / "data" / "shop-0.0.1" / "cpu-1.pb.gz"

Shell = Callable[[str, str], Run]


@pytest.fixture
def shell(applied: State, go: Go, tmp_path: Path) -> Iterator[Shell]:
    """Yield a function that runs a command of the outputs with one of the keys, both by name."""
    (tmp_path / "cpu.pb.gz").write_bytes(CPU.read_bytes())
    with served(f"file://{tmp_path / 'profiles'}", tmp_path / "log", PROFBUCKET_KEYS=json.dumps(KEYS)) as url:

        def shell(command: str, key: str) -> Run:
            text = applied.outputs["commands"][command]
            for host in applied.outputs["urls"].values():
                text = text.replace(host.replace("https://", "https://x:$KEY@"), f"http://x:$KEY@{url[7:]}")
            assert "https:" not in text
            # The profile contains the time at which it was taken, long ago.
            text = text.replace("from=now-1h", "from=2000-01-01T00:00:00")
            environment = {
                **go.environment,
                "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}",
                "PPROF_TMPDIR": str(tmp_path),
                "PPROF_BINARY_PATH": str(tmp_path),
                "KEY": SECRETS[key],
            }
            return run("bash", "-c", f"{text} </dev/null", cwd=tmp_path, environment=environment).check()

        yield shell


def test_post_find_and_pprof_work(shell: Shell) -> None:
    assert json.loads(shell("post", "agents").text)["body"]["service"] == "shop"
    assert len(json.loads(shell("find", "people").text)["body"]) == 1
    assert "Type: cpu" in shell("pprof", "people").stderr


def test_the_agent_command_is_valid_go(applied: State, go: Go, deployment: Terraform, tmp_path: Path) -> None:
    with_key = applied.outputs["commands"]["agent"]
    with_iam = deployment.apply().outputs["commands"]["agent"]
    for line in (with_key, with_iam):
        (tmp_path / "main.go").write_text(f"package main\n\nfunc main() {{\n\t{line}\n}}\n")
        gofmt = Path(go.run("env", "GOROOT").check().text.strip()) / "bin" / "gofmt"
        run(str(gofmt), "-e", str(tmp_path / "main.go")).check()


def test_commands_without_keys_send_an_identity_token(deployment: Terraform) -> None:
    commands = deployment.apply().outputs["commands"]
    assert "KEY" not in json.dumps(commands)
    for name in ("post", "find"):
        assert '-H "Authorization: Bearer $(gcloud auth print-identity-token)"' in commands[name]
    assert commands["proxy"].startswith("gcloud run services proxy profbucket-merge ")
    for command in commands.values():
        if not command.startswith("client"):
            run("bash", "-n", "-c", command).check()


def test_the_command_of_the_readme_deploys(deployment: Terraform) -> None:
    [command] = re.findall(r"^\$ terraform (apply .*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    arguments = shlex.split(command)
    assert "-var" in arguments
    deployment(*arguments, "-auto-approve", "-no-color").check()


def test_the_data_source_of_grafana_is_that_of_the_document(applied: State, deployment: Terraform) -> None:
    [documented] = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "grafana.md").read_text(), re.M | re.S)
    query = applied.outputs["urls"]["query"]
    expected = yaml.safe_load(documented.replace("https://collector.example", query))
    assert yaml.safe_load(applied.outputs["grafana"]) == expected
    outputs = deployment.apply().outputs
    [source] = yaml.safe_load(outputs["grafana"])["datasources"]
    assert "KEY" not in outputs["grafana"]
    assert source["url"].rpartition(":")[2] in outputs["commands"]["page"]


def test_the_first_query_runs_before_the_first_export(applied: State, tmp_path: Path) -> None:
    """The bucket has only the file without rows, from which the views are made."""
    file, object_key = find_empty_file()
    target = tmp_path / object_key
    target.parent.mkdir(parents=True)
    target.write_bytes(file.read_bytes())
    query = shlex.split(applied.outputs["commands"]["sql"])[-1]
    with connect_bigquery(tmp_path) as connection:
        result = connection.sql(translate(query))
        assert (result.columns, result.fetchall()) == (["function", "nanoseconds"], [])
