mock_provider "google" {}
mock_provider "archive" {}

variables {
  project = "my-project"
  access  = "public"
  keys = [
    { name = "agents", sha256 = "0000000000000000000000000000000000000000000000000000000000000000", scopes = ["write"], services = ["shop-*"] },
    { name = "people", sha256 = "1111111111111111111111111111111111111111111111111111111111111111", scopes = ["read", "admin"] },
  ]
}

run "without_keys_no_one_is_let_in_who_is_not_named" {
  command = plan

  variables {
    access = "iam"
    keys   = []
  }

  assert {
    condition     = length(google_cloud_run_v2_service_iam_member.invoker) == 0
    error_message = "Someone is let in by default."
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
    condition = { for one in google_cloud_run_v2_service_iam_member.invoker : "${one.name} ${one.member}" => one.role } == {
      "profbucket-write serviceAccount:shop@my-project.iam.gserviceaccount.com" = "roles/run.invoker"
      "profbucket-query group:developers@example.com"                           = "roles/run.invoker"
      "profbucket-merge group:developers@example.com"                           = "roles/run.invoker"
    }
    error_message = "writers and readers are not let through to their functions, or to others."
  }
}

run "with_keys_anyone_may_knock" {
  command = plan

  assert {
    condition     = toset([for one in google_cloud_run_v2_service_iam_member.invoker : "${one.name} ${one.member} ${one.role}"]) == toset([for name in ["write", "query", "merge"] : "profbucket-${name} allUsers roles/run.invoker"])
    error_message = "With access \"public\" a request with a key does not get through."
  }
  assert {
    condition     = alltrue([for name, f in google_cloudfunctions2_function.function : !contains(keys(f.service_config[0].environment_variables), "PROFBUCKET_ANONYMOUS") || name == "compact"])
    error_message = "With access \"public\" a request without a key gets through."
  }
}

run "keys_are_a_secret_and_nowhere_else" {
  assert {
    condition     = jsondecode(google_secret_manager_secret_version.keys[0].secret_data) == [{ name = "agents", sha256 = var.keys[0].sha256, scopes = ["write"], services = ["shop-*"] }, { name = "people", sha256 = var.keys[1].sha256, scopes = ["read", "admin"] }]
    error_message = "The secret is not the keys as the collector reads them."
  }
  assert {
    condition = alltrue([
      for name, f in google_cloudfunctions2_function.function :
      [for s in f.service_config[0].secret_environment_variables : "${s.key} ${s.secret} ${s.version}"] == [for _ in range(name == "compact" ? 0 : 1) : "PROFBUCKET_KEYS profbucket-keys ${google_secret_manager_secret_version.keys[0].version}"]
      && !contains(keys(f.service_config[0].environment_variables), "PROFBUCKET_KEYS")
      && !strcontains(jsonencode(f.service_config[0].environment_variables), var.keys[0].sha256)
    ])
    error_message = "A function does not have the keys from the secret, at that version, or has them in plain text."
  }
  assert {
    condition     = toset([for one in google_secret_manager_secret_iam_member.keys : "${one.role} ${one.member}"]) == toset([for name, account in google_service_account.function : "roles/secretmanager.secretAccessor ${account.member}" if name != "compact"])
    error_message = "Others than the functions may read the secret, or one may not."
  }
}

run "write_creates_and_reads_nothing_back" {
  assert {
    condition = toset([
      for one in google_storage_bucket_iam_member.function : "${one.role} ${one.condition[0].expression}"
      if one.member == google_service_account.function["write"].member
    ]) == toset(["roles/storage.objectCreator !resource.name.startsWith(\"projects/_/buckets/my-project-profbucket/objects/_/\")"])
    error_message = "write may do more in the bucket than create profiles."
  }
  assert {
    condition = toset([
      for one in google_project_iam_member.function : one.role if one.member == google_service_account.function["write"].member
    ]) == toset([google_project_iam_custom_role.index_writer.name])
    error_message = "write may do more in the index than its own role says."
  }
  assert {
    condition     = google_project_iam_custom_role.index_writer.permissions == toset(["datastore.entities.create"])
    error_message = "To add an entry needs one permission."
  }
}

run "compact_alone_removes_entries_and_blocks_and_nothing_else" {
  assert {
    condition = toset([
      for one in google_storage_bucket_iam_member.function : "${one.role} ${join("", one.condition[*].expression)}"
      if one.member == google_service_account.function["compact"].member
      ]) == toset([
      "roles/storage.objectViewer ",
      "roles/storage.objectUser resource.name.startsWith(\"projects/_/buckets/my-project-profbucket/objects/_/blocks/\")",
    ])
    error_message = "compact may do more in the bucket than read, and write and delete blocks; or less."
  }
  assert {
    condition = [
      for one in google_project_iam_member.function : one.member if one.role == "roles/datastore.user"
    ] == [google_service_account.function["compact"].member]
    error_message = "Another function may remove entries, or compact may not."
  }
}

run "the_scheduler_alone_may_have_things_compacted" {
  assert {
    condition = {
      for one in concat(values(google_cloud_run_v2_service_iam_member.invoker), values(google_cloud_run_v2_service_iam_member.scheduler)) :
      one.member => one.role if one.name == "profbucket-compact"
    } == { (google_service_account.scheduler.member) = "roles/run.invoker" }
    error_message = "Others than the scheduler are let through to compact, or it is not."
  }
  assert {
    condition = [
      for one in google_cloud_scheduler_job.job :
      [one.schedule, one.http_target[0].uri, one.http_target[0].oidc_token[0].audience, one.http_target[0].oidc_token[0].service_account_email]
    ] == [["15 * * * *", output.urls.compact, output.urls.compact, google_service_account.scheduler.email]]
    error_message = "The scheduler does not call compact once an hour with a token of its own account."
  }
}

run "signing_is_signing_as_oneself_and_nothing_more" {
  assert {
    condition = { for name, one in google_service_account_iam_member.signer : name => [one.service_account_id, one.member, one.role] } == {
      for name in ["query", "merge"] : name => [
        google_service_account.function[name].name, google_service_account.function[name].member, google_project_iam_custom_role.url_signer.name
      ]
    }
    error_message = "A function may act as another account, or cannot sign the links that it gives out."
  }
  assert {
    condition     = google_project_iam_custom_role.url_signer.permissions == toset(["iam.serviceAccounts.signBlob"])
    error_message = "Signing needs one permission: others make tokens."
  }
}

run "query_and_merge_read_and_write_results_alone" {
  assert {
    condition = alltrue([
      for name in ["query", "merge"] : {
        for one in google_storage_bucket_iam_member.function : one.role => join("", one.condition[*].expression)
        if one.member == google_service_account.function[name].member
        } == {
        "roles/storage.objectViewer"  = ""
        "roles/storage.objectCreator" = "resource.name.startsWith(\"projects/_/buckets/my-project-profbucket/objects/_/results/\")"
      }
    ])
    error_message = "query or merge may write elsewhere than below _/results/."
  }
  assert {
    condition = alltrue([
      for name in ["query", "merge"] : [
        for one in google_project_iam_member.function : one.role if one.member == google_service_account.function[name].member
      ] == ["roles/datastore.viewer"]
    ])
    error_message = "query or merge may do more in the index than read."
  }
}

run "rights_on_the_index_are_rights_on_one_database" {
  command = plan

  assert {
    condition     = alltrue([for one in google_project_iam_member.function : one.condition[0].expression == "resource.name == \"projects/my-project/databases/profbucket\""])
    error_message = "A function may use another database of the project."
  }
}
