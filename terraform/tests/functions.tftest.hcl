mock_provider "google" {}
mock_provider "time" {}
mock_provider "archive" {
  mock_data "archive_file" {
    defaults = {
      output_md5 = "0123456789abcdef0123456789abcdef"
    }
  }
}

variables {
  project = "my-project"
}

run "project_is_the_only_required_variable" {
  assert {
    condition     = { for name, f in google_cloudfunctions2_function.function : f.name => f.build_config[0].entry_point } == { profbucket-write = "write", profbucket-query = "query", profbucket-merge = "merge", profbucket-compact = "compact" }
    error_message = "The four functions do not exist, or do not have their own entry points."
  }
  assert {
    condition     = toset(keys(output.urls)) == toset(["write", "query", "merge", "compact"])
    error_message = "The output urls does not have the URL of every function."
  }
}

run "all_functions_are_built_from_one_archive_named_after_its_hash" {
  assert {
    condition     = google_storage_bucket_object.source.name == "profbucket-0123456789abcdef0123456789abcdef.zip"
    error_message = "The archive's name does not depend on its content: changed code would not be deployed."
  }
  assert {
    condition = alltrue([
      for f in google_cloudfunctions2_function.function :
      f.build_config[0].source[0].storage_source[0].object == google_storage_bucket_object.source.name
      && f.build_config[0].source[0].storage_source[0].bucket == google_storage_bucket.source.name
    ])
    error_message = "A function is built from another object."
  }
}

run "an_instance_has_a_thread_per_request" {
  variables {
    functions = { merge = { concurrency = 7 } }
  }

  assert {
    condition = alltrue([
      for f in google_cloudfunctions2_function.function :
      f.service_config[0].environment_variables.THREADS == tostring(f.service_config[0].max_instance_request_concurrency)
    ])
    error_message = "THREADS differs from the concurrency: requests would wait, or threads would be idle."
  }
  assert {
    condition     = google_cloudfunctions2_function.function["merge"].service_config[0].environment_variables.THREADS == "7"
    error_message = "The variable functions does not set the concurrency."
  }
}

run "sizes_have_defaults" {
  command = plan

  variables {
    functions = { merge = { memory = "4Gi", cpu = "2", min_instances = 1 } }
  }

  assert {
    condition = {
      for name, f in google_cloudfunctions2_function.function : name => join(" ", [
        f.service_config[0].available_memory, f.service_config[0].available_cpu, f.service_config[0].timeout_seconds,
        f.service_config[0].min_instance_count, f.service_config[0].max_instance_count,
      ])
    } == { write = "1Gi 1 90 0 10", query = "2Gi 1 120 0 5", merge = "4Gi 2 120 1 5", compact = "2Gi 1 540 0 10" }
    error_message = "The sizes are not the defaults, overridden by the variable functions."
  }
}

run "settings_are_passed_to_the_functions" {
  variables {
    raw_days   = 7
    block_days = 90
    limits     = { merge = 20000, body_bytes = 1048576 }
    commit     = "0a1b2c3"
  }

  assert {
    condition = alltrue([
      for name, f in google_cloudfunctions2_function.function : tomap({ for key, value in f.service_config[0].environment_variables : key => value if !startswith(key, "PROFBUCKET_COMPACT_") }) == tomap({
        THREADS                   = f.service_config[0].environment_variables.THREADS
        STORAGE_URL               = "gs://my-project-profbucket?project=my-project&database=profbucket&retention_days=7&block_days=90"
        GOOGLE_CLOUD_PROJECT      = "my-project"
        MALLOC_ARENA_MAX          = "1"
        PROFBUCKET_ANONYMOUS      = "1"
        PROFBUCKET_COMMIT         = "0a1b2c3"
        PROFBUCKET_LOG_LEVEL      = "info"
        PROFBUCKET_MAX_BODY_BYTES = "1048576"
        PROFBUCKET_MAX_MERGE      = "20000"
      })
    ])
    error_message = "A function's environment differs from the variables."
  }
}

run "the_version_defaults_to_the_hash_of_the_archive" {
  command = plan

  assert {
    condition     = google_cloudfunctions2_function.function["write"].service_config[0].environment_variables.PROFBUCKET_COMMIT == "0123456789ab"
    error_message = "Without a commit the version is not the hash of the archive."
  }
}

run "two_collectors_can_share_a_project" {
  command = plan

  variables {
    name = "staging"
  }

  assert {
    condition     = google_storage_bucket.profiles.name == "my-project-staging" && google_firestore_database.index.name == "staging" && google_cloudfunctions2_function.function["write"].name == "staging-write"
    error_message = "A resource's name does not depend on the name of the collector."
  }
}

run "images_are_in_a_repository_that_forgets_old_ones" {
  assert {
    condition     = alltrue([for f in google_cloudfunctions2_function.function : f.build_config[0].docker_repository == google_artifact_registry_repository.images.id])
    error_message = "A function's image is in another repository than that which its builder may write to."
  }
  assert {
    condition     = toset([for policy in google_artifact_registry_repository.images.cleanup_policies : policy.action]) == toset(["KEEP", "DELETE"])
    error_message = "Old images are kept for ever, or recent ones are deleted."
  }
}

run "a_build_waits_for_its_grants" {
  assert {
    condition     = time_sleep.build.create_duration == "90s" && time_sleep.build.triggers.repository == google_artifact_registry_repository_iam_member.build.id
    error_message = "A build may start before Google has applied the grants of its account."
  }
}
