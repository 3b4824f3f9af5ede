"""The state after an apply: every grant, and the effect of applying again."""

import json
import os
import re
from collections import defaultdict
from pathlib import Path

from profbucket.limits import Limits
from tests.support.paths import ROOT
from tests.support.terraform.terraform import State, Terraform
from tests.terraform.conftest import KEYS

OBJECTS = "projects/_/buckets/my-project-profbucket/objects/"
DATABASE = 'resource.name == "projects/my-project/databases/profbucket"'

# Every grant, by account: the role, the resource and the condition. A new grant has to be added here.
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
        ("roles/storage.objectUser", "bucket", f'resource.name.startsWith("{OBJECTS}_/samples/")'),
        ("roles/datastore.user", "project", DATABASE),
        ("roles/cloudtasks.enqueuer", "cloud_tasks_queue profbucket-compact", ""),
        ("roles/iam.serviceAccountUser", "service_account profbucket-scheduler", ""),
    },
    "profbucket-scheduler": {("roles/run.invoker", "service profbucket-compact", "")},
    "profbucket-build": {
        ("roles/logging.logWriter", "project", ""),
        ("roles/artifactregistry.writer", "artifact_registry_repository profbucket", ""),
        (
            "roles/storage.objectViewer",
            "project",
            'resource.name.startsWith("projects/_/buckets/gcf-v2-sources-google_project.my-project.number-us-central1")',
        ),
    },
    "profbucket-samples": {
        (
            "roles/storage.objectViewer",
            "bucket",
            f'resource.type != "storage.googleapis.com/Object" || resource.name.startsWith("{OBJECTS}_/samples/")',
        )
    },
    "group:developers@example.com": {("roles/bigquery.dataViewer", "bigquery_dataset", "")},
    "allUsers": {("roles/run.invoker", f"service profbucket-{name}", "") for name in ("write", "query", "merge")},
}
ROLES = {
    "profbucket_index_writer": {"datastore.entities.create"},
    "profbucket_url_signer": {"iam.serviceAccounts.signBlob"},
}


def grants(state: State) -> dict[str, set[tuple[str, str, str]]]:
    """Return for each account its grants: role, resource and condition."""
    grants_by_member = defaultdict(set)
    for address, values in state.all().items():
        resource_type = address.split(".")[0]
        is_grant = re.search(r"_iam_|_acl$|access_control$", resource_type)
        if not is_grant or resource_type == "google_project_iam_custom_role":
            continue
        match = re.fullmatch(r"google_(?:storage_|secret_manager_|cloud_run_v2_)?(\w+)_iam_member", resource_type)
        assert match, f"{address}: use an _iam_member resource; others remove the grants of other applications"
        target = match[1]
        if target == "service_account":
            target = f"service_account {_resource_name(values['service_account_id'])}"
        elif target == "service":
            target = f"service {_resource_name(values['name'])}"
        elif target == "cloud_tasks_queue":
            target = f"cloud_tasks_queue {values['name']}"
        elif target == "artifact_registry_repository":
            target = f"artifact_registry_repository {_resource_name(values['repository'])}"
        conditions = [condition["expression"] for condition in values.get("condition") or []]
        grant = (_resource_name(values["role"]), target, " ".join(conditions))
        grants_by_member[_resource_name(values["member"])].add(grant)
    return grants_by_member


def _resource_name(value: str) -> str:
    """Return NAME of a value ``TYPE.NAME.FIELD`` that the stub generated, and any other value unchanged."""
    parts = value.removeprefix("serviceAccount:").split(".")
    return parts[1] if parts[0].startswith("google_") else value


def test_no_grant_is_missing_or_unexpected(applied: State) -> None:
    assert grants(applied) == GRANTS


# The role that may grant others on a resource, by its type. The role Editor may not.
GRANTING_ROLES = {
    "google_artifact_registry_repository_iam_member": "Artifact Registry Administrator",
    "google_bigquery_dataset_iam_member": "BigQuery Admin",
    "google_cloud_run_v2_service_iam_member": "Cloud Run Admin",
    "google_cloud_tasks_queue_iam_member": "Cloud Tasks Admin",
    "google_project_iam_custom_role": "Role Administrator",
    "google_project_iam_member": "Project IAM Admin",
    "google_secret_manager_secret_iam_member": "Secret Manager Admin",
    "google_service_account_iam_member": "Service Account Admin",
    "google_storage_bucket_iam_member": "Storage Admin",
}


def test_the_roles_for_an_apply_are_documented(applied: State) -> None:
    types = {address.split(".")[0] for address in applied.all() if "_iam_" in address.split(".")[0]}
    assert types == set(GRANTING_ROLES)
    documented = (ROOT / "docs" / "operations.md").read_text().partition("with the roles Editor")[2].split("\n")[0]
    assert not [role for role in GRANTING_ROLES.values() if role not in documented]


def test_custom_roles_have_one_permission(applied: State) -> None:
    roles = applied.all("google_project_iam_custom_role").values()
    assert {role["role_id"]: set(role["permissions"]) for role in roles} == ROLES


def test_no_role_is_a_basic_or_admin_role(applied: State) -> None:
    roles = {role for member_grants in grants(applied).values() for role, _, _ in member_grants}
    assert not [role for role in roles if re.search(r"^roles/(owner|editor|viewer)$|[aA]dmin", role)]


def test_no_bucket_can_be_public(applied: State) -> None:
    buckets = applied.all("google_storage_bucket")
    assert len(buckets) == 2
    for bucket in buckets.values():
        assert bucket["public_access_prevention"] == "enforced"
        assert bucket["uniform_bucket_level_access"] is True


def test_the_indexes_match_the_code(applied: State) -> None:
    expected = json.loads((ROOT / "storage_gcs" / "indexes.json").read_text())
    indexes = [
        {"collection": index["collection"], "fields": [field["field_path"] for field in index["fields"]]}
        for index in applied.all("google_firestore_index").values()
    ]
    assert sorted(indexes, key=str) == sorted(expected["indexes"], key=str)
    fields = [
        {
            "collection": field["collection"],
            "field": field["field"],
            "indexed": not field["index_config"],
            "ttl": bool(field["ttl_config"]),
        }
        for field in applied.all("google_firestore_field").values()
    ]
    assert sorted(fields, key=str) == sorted(expected["fields"], key=str)


def test_metrics_count_lines_that_compaction_logs(applied: State) -> None:
    source = (ROOT / "profbucket" / "maintenance" / "compactor.py").read_text()
    metrics = applied.all("google_logging_metric").values()
    messages = {message for metric in metrics for message in re.findall(r'"([a-z ]{8,})"', metric["filter"])}
    assert messages == {"compaction done", "compaction of a lane failed", "compaction incomplete"}
    assert all(f'"{message}"' in source for message in messages)
    [field] = [match for metric in metrics for match in re.findall(r"jsonPayload\.(\w+)>", metric["filter"])]
    assert f'"{field}"' in source
    assert all('service_name="profbucket-compact"' in metric["filter"] for metric in metrics)


def test_the_hash_of_a_key_is_only_in_the_secret(applied: State) -> None:
    addresses = [address for address, values in applied.all().items() if KEYS[0]["sha256"] in json.dumps(values)]
    assert addresses == ["google_secret_manager_secret_version.keys[0]"]
    assert str(KEYS[0]["sha256"]) not in json.dumps(applied.outputs)


def test_a_plan_after_an_apply_is_empty(deployment: Terraform) -> None:
    deployment.apply(access="public", keys=KEYS, samples_days=400, sql=True)
    # A later plan sees other modification times, and files that a run has left behind.
    for path in deployment.root.rglob("*.py"):
        os.utime(path, (0, 0))
        path.chmod(0o600)
    _add_leftovers(deployment.root)
    result = deployment.plan(access="public", keys=KEYS, samples_days=400, sql=True)
    assert result.returncode == 0, result.text


def test_a_replaced_function_gets_its_grants_again(deployment: Terraform) -> None:
    """Google deletes the grants on a function's Cloud Run service together with the function."""
    deployment.apply(access="public", keys=KEYS)
    replaced = [f'google_cloudfunctions2_function.function["{name}"]' for name in ("write", "compact")]
    plan = deployment.plan_changes(*(f"-replace={address}" for address in replaced), access="public", keys=KEYS)
    grants_on_services = {
        address
        for address, actions in plan.items()
        if "_run_v2_service_iam_member." in address and actions != ["no-op"]
    }
    assert grants_on_services == {
        'google_cloud_run_v2_service_iam_member.invoker["write: allUsers"]',
        'google_cloud_run_v2_service_iam_member.scheduler["compact"]',
    }


def test_other_days_replace_only_what_is_left_as_it_is(deployment: Terraform) -> None:
    """The provider replaces a field whose expiry changes; without ABANDON it would first turn expiry off."""
    state = deployment.apply(raw_days=14, block_days=400)
    plan = deployment.plan_changes(raw_days=15, block_days=401)
    replaced = {address for address, actions in plan.items() if "delete" in actions}
    fields = {
        f"google_firestore_field.{name}": field for name, field in state.all("google_firestore_field").items()
    }
    expiring = {name for name, field in fields.items() if field["ttl_config"]}
    assert replaced == expiring
    assert {fields[name]["deletion_policy"] for name in replaced} == {"ABANDON"}


def _add_leftovers(root: Path) -> None:
    (root / "profbucket" / "__pycache__").mkdir(exist_ok=True)
    for name in ("profbucket/__pycache__/api.cpython-313.pyc", "profbucket/.#api.py", "storage_gcs/notes.txt"):
        (root / name).write_text("leftover")


def test_changed_code_changes_the_archive_of_every_function(deployment: Terraform) -> None:
    before = _archives(deployment.apply())
    with (deployment.root / "functions" / "main.py").open("a") as main:
        main.write("# changed\n")
    after = _archives(deployment.apply())
    assert len(before) == len(after) == 1
    assert before != after


def _archives(state: State) -> set[str]:
    """Return the names of the objects that the functions are built from."""
    functions = state.all("google_cloudfunctions2_function").values()
    return {function["build_config"][0]["source"][0]["storage_source"][0]["object"] for function in functions}


def test_every_limit_can_be_set(deployment: Terraform) -> None:
    limits = dict.fromkeys(Limits.names(), 7)
    function = deployment.apply(limits=limits).all("google_cloudfunctions2_function")['function["merge"]']
    variables = function["service_config"][0]["environment_variables"]
    assert {name: variables.get(Limits.setting(name)) for name in limits} == dict.fromkeys(limits, "7")


def test_the_documented_settings_file_works(deployment: Terraform) -> None:
    """Plan with the terraform.tfvars of docs/operations.md."""
    text = (ROOT / "docs" / "operations.md").read_text()
    example = re.search(r"```hcl\n(# terraform\.tfvars\n.*?)```", text, re.S)
    assert example
    (deployment.root / "terraform" / "terraform.tfvars").write_text(example[1])
    result = deployment("plan", "-no-color")
    assert result.returncode == 0, f"{result.text}{result.stderr}"
