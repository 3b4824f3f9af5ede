mock_provider "google" {}
mock_provider "time" {}
mock_provider "archive" {}

variables {
  project = "my-project"
  access  = "public"
  keys = [
    { name = "agents", sha256 = "0000000000000000000000000000000000000000000000000000000000000000", scopes = ["write"], services = ["shop-*"] },
    { name = "people", sha256 = "1111111111111111111111111111111111111111111111111111111111111111", scopes = ["read", "admin"] },
  ]
}

run "without_keys_only_named_members_may_call" {
  command = plan

  variables {
    access = "iam"
    keys   = []
  }

  assert {
    condition     = length(google_cloud_run_v2_service_iam_member.invoker) == 0
    error_message = "By default somebody may call a function."
  }
}

run "writers_write_and_readers_read" {
  command = plan

  variables {
    access  = "iam"
    keys    = []
    writers = ["serviceAccount:shop@my-project.iam.gserviceaccount.com"]
    readers = ["group:developers@example.com"]
  }

  assert {
    condition = { for name, grant in google_cloud_run_v2_service_iam_member.invoker : name => "${grant.member} ${grant.role}" } == {
      "write: serviceAccount:shop@my-project.iam.gserviceaccount.com" = "serviceAccount:shop@my-project.iam.gserviceaccount.com roles/run.invoker"
      "query: group:developers@example.com"                           = "group:developers@example.com roles/run.invoker"
      "merge: group:developers@example.com"                           = "group:developers@example.com roles/run.invoker"
    }
    error_message = "writers may not call write, readers may not call query and merge, or one may call more."
  }
}

run "with_public_access_anyone_may_send_a_request" {
  command = plan

  assert {
    condition     = toset([for name, grant in google_cloud_run_v2_service_iam_member.invoker : "${name} ${grant.member} ${grant.role}"]) == toset([for name in ["write", "query", "merge"] : "${name}: allUsers allUsers roles/run.invoker"])
    error_message = "With access \"public\" a request with a key does not reach a function."
  }
  assert {
    condition     = alltrue([for name, f in google_cloudfunctions2_function.function : !contains(keys(f.service_config[0].environment_variables), "PROFBUCKET_ANONYMOUS") || name == "compact"])
    error_message = "With access \"public\" a function accepts requests without a key."
  }
}

run "keys_are_only_in_the_secret" {
  assert {
    condition     = jsondecode(google_secret_manager_secret_version.keys[0].secret_data) == [{ name = "agents", sha256 = var.keys[0].sha256, scopes = ["write"], services = ["shop-*"] }, { name = "people", sha256 = var.keys[1].sha256, scopes = ["read", "admin"] }]
    error_message = "The secret does not hold the keys in the collector's format."
  }
  assert {
    condition = alltrue([
      for name, f in google_cloudfunctions2_function.function :
      [for s in f.service_config[0].secret_environment_variables : "${s.key} ${s.secret} ${s.version}"] == [for _ in range(name == "compact" ? 0 : 1) : "PROFBUCKET_KEYS profbucket-keys ${google_secret_manager_secret_version.keys[0].version}"]
      && !contains(keys(f.service_config[0].environment_variables), "PROFBUCKET_KEYS")
      && !strcontains(jsonencode(f.service_config[0].environment_variables), var.keys[0].sha256)
    ])
    error_message = "A function does not read the keys from that version of the secret, or has them in plain text."
  }
  assert {
    condition     = toset([for grant in google_secret_manager_secret_iam_member.keys : "${grant.role} ${grant.member}"]) == toset([for name, account in google_service_account.function : "roles/secretmanager.secretAccessor ${account.member}" if name != "compact"])
    error_message = "A function cannot read the secret, or another account can."
  }
}

run "write_may_only_create" {
  assert {
    condition = toset([
      for grant in google_storage_bucket_iam_member.function : "${grant.role} ${grant.condition[0].expression}"
      if grant.member == google_service_account.function["write"].member
    ]) == toset(["roles/storage.objectCreator !resource.name.startsWith(\"projects/_/buckets/my-project-profbucket/objects/_/\")"])
    error_message = "write may do more in the bucket than create profiles."
  }
  assert {
    condition = toset([
      for grant in google_project_iam_member.function : grant.role if grant.member == google_service_account.function["write"].member
    ]) == toset([google_project_iam_custom_role.index_writer.name])
    error_message = "write has another role than index_writer on the index."
  }
  assert {
    condition     = google_project_iam_custom_role.index_writer.permissions == toset(["datastore.entities.create"])
    error_message = "index_writer has more permissions than adding an entry needs."
  }
}

run "only_compact_removes_entries_and_blocks" {
  assert {
    condition = toset([
      for grant in google_storage_bucket_iam_member.function : "${grant.role} ${join("", grant.condition[*].expression)}"
      if grant.member == google_service_account.function["compact"].member
      ]) == toset([
      "roles/storage.objectViewer ",
      "roles/storage.objectUser resource.name.startsWith(\"projects/_/buckets/my-project-profbucket/objects/_/blocks/\")",
    ])
    error_message = "compact may do more or less in the bucket than read objects, and write and delete blocks."
  }
  assert {
    condition = [
      for grant in google_project_iam_member.function : grant.member if grant.role == "roles/datastore.user"
    ] == [google_service_account.function["compact"].member]
    error_message = "compact may not remove entries, or another function may."
  }
}

run "only_the_scheduler_calls_compact" {
  assert {
    condition = {
      for name, grant in merge(google_cloud_run_v2_service_iam_member.invoker, google_cloud_run_v2_service_iam_member.scheduler) :
      grant.member => grant.role if startswith(name, "compact")
    } == { (google_service_account.scheduler.member) = "roles/run.invoker" }
    error_message = "The scheduler may not call compact, or somebody else may."
  }
  assert {
    condition = [
      for job in google_cloud_scheduler_job.job :
      [job.schedule, job.http_target[0].uri, job.http_target[0].oidc_token[0].audience, job.http_target[0].oidc_token[0].service_account_email]
    ] == [["15 * * * *", output.urls.compact, output.urls.compact, google_service_account.scheduler.email]]
    error_message = "The scheduler does not call compact once an hour with a token of its own account."
  }
}

run "a_function_signs_only_with_its_own_account" {
  assert {
    condition = { for name, grant in google_service_account_iam_member.signer : name => [grant.service_account_id, grant.member, grant.role] } == {
      for name in ["query", "merge"] : name => [
        google_service_account.function[name].name, google_service_account.function[name].member, google_project_iam_custom_role.url_signer.name
      ]
    }
    error_message = "A function cannot sign URLs, or can sign with another account."
  }
  assert {
    condition     = google_project_iam_custom_role.url_signer.permissions == toset(["iam.serviceAccounts.signBlob"])
    error_message = "url_signer has more permissions than signing needs."
  }
}

run "query_and_merge_read_and_write_only_results" {
  assert {
    condition = alltrue([
      for name in ["query", "merge"] : {
        for grant in google_storage_bucket_iam_member.function : grant.role => join("", grant.condition[*].expression)
        if grant.member == google_service_account.function[name].member
        } == {
        "roles/storage.objectViewer"  = ""
        "roles/storage.objectCreator" = "resource.name.startsWith(\"projects/_/buckets/my-project-profbucket/objects/_/results/\")"
      }
    ])
    error_message = "query or merge may write outside of _/results/."
  }
  assert {
    condition = alltrue([
      for name in ["query", "merge"] : [
        for grant in google_project_iam_member.function : grant.role if grant.member == google_service_account.function[name].member
      ] == ["roles/datastore.viewer"]
    ])
    error_message = "query or merge may do more in the index than read."
  }
}

run "roles_on_the_index_are_restricted_to_one_database" {
  command = plan

  assert {
    condition     = alltrue([for grant in google_project_iam_member.function : grant.condition[0].expression == "resource.name == \"projects/my-project/databases/profbucket\""])
    error_message = "A function may use another database of the project."
  }
}
