"""What stands after an apply: claims about all of it, whatever else is added, and about doing it again."""

import json
import os
import re
from collections import defaultdict
from dataclasses import fields
from pathlib import Path

from profbucket.limits import Limits
from tests.support.paths import ROOT
from tests.support.terraform.terraform import State, Terraform
from tests.terraform.conftest import KEYS

OBJECTS = "projects/_/buckets/my-project-profbucket/objects/"
DATABASE = 'resource.name == "projects/my-project/databases/profbucket"'

# Everything that anyone is granted, whose accounts and roles are ours by their names. To widen it is to change it
# here. An entry: the role, what it is granted on, and the condition.
GRANTS = {
    "profbucket-write": {
        ("roles/storage.objectCreator", "bucket", f'!resource.name.startsWith("{OBJECTS}_/")'),
        ("profbucket_index_writer", "project", DATABASE),
        ("roles/secretmanager.secretAccessor", "secret", ""),
    },
    "profbucket-query": {
        ("roles/storage.objectViewer", "bucket", ""),
        ("roles/storage.objectCreator", "bucket", f'resource.name.startsWith("{OBJECTS}_/results/")'),
        ("roles/datastore.viewer", "project", DATABASE),
        ("roles/secretmanager.secretAccessor", "secret", ""),
        ("profbucket_url_signer", "service_account profbucket-query", ""),
    },
    "profbucket-merge": {
        ("roles/storage.objectViewer", "bucket", ""),
        ("roles/storage.objectCreator", "bucket", f'resource.name.startsWith("{OBJECTS}_/results/")'),
        ("roles/datastore.viewer", "project", DATABASE),
        ("roles/secretmanager.secretAccessor", "secret", ""),
        ("profbucket_url_signer", "service_account profbucket-merge", ""),
    },
    "profbucket-compact": {
        ("roles/storage.objectViewer", "bucket", ""),
        ("roles/storage.objectUser", "bucket", f'resource.name.startsWith("{OBJECTS}_/blocks/")'),
        ("roles/datastore.user", "project", DATABASE),
    },
    "profbucket-scheduler": {("roles/run.invoker", "service profbucket-compact", "")},
    "profbucket-build": {
        ("roles/logging.logWriter", "project", ""),
        ("roles/artifactregistry.writer", "project", ""),
        (
            "roles/storage.objectViewer",
            "project",
            'resource.name != "projects/_/buckets/my-project-profbucket" '
            f'&& !resource.name.startsWith("{OBJECTS}")',
        ),
    },
    "allUsers": {("roles/run.invoker", f"service profbucket-{name}", "") for name in ("write", "query", "merge")},
}
ROLES = {
    "profbucket_index_writer": {"datastore.entities.create"},
    "profbucket_url_signer": {"iam.serviceAccounts.signBlob"},
}


def grants(state: State) -> dict[str, set[tuple[str, str, str]]]:
    """Who is granted which role, on what, under which condition."""
    found = defaultdict(set)
    for address, values in state.all().items():
        kind = address.split(".")[0]
        if not re.search(r"_iam_|_acl$|access_control$", kind) or kind == "google_project_iam_custom_role":
            continue
        what = re.fullmatch(r"google_(?:storage_|secret_manager_|cloud_run_v2_)?(\w+)_iam_member", kind)
        assert what, f"{address}: a grant is a member's, so that no other grant is taken away"
        on = what[1]
        if on == "service_account":
            on = f"service_account {_named(values['service_account_id'])}"
        elif on == "service":
            on = f"service {values['name']}"
        conditions = [condition["expression"] for condition in values.get("condition") or []]
        found[_named(values["member"])].add((_named(values["role"]), on, " ".join(conditions)))
    return found


def _named(made_up: str) -> str:
    """The stub calls what it makes up KIND.NAME.FIELD."""
    parts = made_up.split(".")
    return parts[1] if parts[0].startswith("google_") else made_up


def test_no_one_is_granted_anything_but_this(applied: State) -> None:
    assert grants(applied) == GRANTS


def test_a_role_of_ours_is_one_permission(applied: State) -> None:
    roles = applied.all("google_project_iam_custom_role").values()
    assert {role["role_id"]: set(role["permissions"]) for role in roles} == ROLES


def test_no_role_is_a_primitive_or_an_administrators(applied: State) -> None:
    roles = {role for given in grants(applied).values() for role, _, _ in given}
    assert not [role for role in roles if re.search(r"^roles/(owner|editor|viewer)$|[aA]dmin", role)]


def test_no_bucket_can_be_public(applied: State) -> None:
    buckets = applied.all("google_storage_bucket")
    assert len(buckets) == 2
    for bucket in buckets.values():
        assert bucket["public_access_prevention"] == "enforced"
        assert bucket["uniform_bucket_level_access"] is True


def test_the_indexes_are_those_of_the_code(applied: State) -> None:
    needed = json.loads((ROOT / "storage_gcs" / "indexes.json").read_text())
    made = [
        {"collection": index["collection"], "fields": [field["field_path"] for field in index["fields"]]}
        for index in applied.all("google_firestore_index").values()
    ]
    assert sorted(made, key=str) == sorted(needed["indexes"], key=str)
    fields = [
        {
            "collection": field["collection"],
            "field": field["field"],
            "indexed": not field["index_config"],
            "ttl": bool(field["ttl_config"]),
        }
        for field in applied.all("google_firestore_field").values()
    ]
    assert sorted(fields, key=str) == sorted(needed["fields"], key=str)


def test_a_keys_hash_stands_in_the_secret_alone(applied: State) -> None:
    holders = [address for address, values in applied.all().items() if KEYS[0]["sha256"] in json.dumps(values)]
    assert holders == ["google_secret_manager_secret_version.keys[0]"]
    assert str(KEYS[0]["sha256"]) not in json.dumps(applied.outputs)


def test_a_plan_after_an_apply_is_empty(deployment: Terraform) -> None:
    deployment.apply(access="public", keys=KEYS)
    # Where a later plan is made, the files have other times, and there is what a run leaves behind.
    for path in deployment.root.rglob("*.py"):
        os.utime(path, (0, 0))
        path.chmod(0o600)
    _litter(deployment.root)
    done = deployment.plan(access="public", keys=KEYS)
    assert done.returncode == 0, done.text


def _litter(root: Path) -> None:
    (root / "profbucket" / "__pycache__").mkdir(exist_ok=True)
    for name in ("profbucket/__pycache__/api.cpython-313.pyc", "profbucket/.#api.py", "storage_gcs/notes.txt"):
        (root / name).write_text("left behind")


def test_changed_code_is_another_archive_for_every_function(deployment: Terraform) -> None:
    before = _deployed(deployment.apply())
    with (deployment.root / "functions" / "main.py").open("a") as main:
        main.write("# changed\n")
    after = _deployed(deployment.apply())
    assert len(before) == len(after) == 1
    assert before != after


def _deployed(state: State) -> set[str]:
    """The objects that functions are built from."""
    functions = state.all("google_cloudfunctions2_function").values()
    return {function["build_config"][0]["source"][0]["storage_source"][0]["object"] for function in functions}


def test_every_limit_of_the_code_can_be_set(deployment: Terraform) -> None:
    limits = {field.name: 7 for field in fields(Limits)}
    function = deployment.apply(limits=limits).all("google_cloudfunctions2_function")['function["merge"]']
    variables = function["service_config"][0]["environment_variables"]
    assert {name: variables.get(Limits.setting(name)) for name in limits} == dict.fromkeys(limits, "7")


def test_a_settings_file_reads_as_the_documentation_has_it(deployment: Terraform) -> None:
    """The example in docs/operations.md is a terraform.tfvars that works."""
    text = (ROOT / "docs" / "operations.md").read_text()
    example = re.search(r"```hcl\n(# terraform\.tfvars\n.*?)```", text, re.S)
    assert example
    (deployment.root / "terraform" / "terraform.tfvars").write_text(example[1])
    done = deployment("plan", "-no-color")
    assert done.returncode == 0, f"{done.text}{done.stderr}"
