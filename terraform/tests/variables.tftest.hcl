mock_provider "google" {}
mock_provider "time" {}
mock_provider "archive" {}

variables {
  project = "my-project"
}

run "project_must_be_an_id" {
  command = plan
  variables {
    project = "123456789"
  }
  expect_failures = [var.project]
}

run "region_must_not_be_a_zone" {
  command = plan
  variables {
    region = "us-central1-a"
  }
  expect_failures = [var.region]
}

run "name_must_leave_room_for_suffixes" {
  command = plan
  variables {
    name = "continuous-profiles-of-all"
  }
  expect_failures = [var.name]
}

run "bucket_must_not_be_a_url" {
  command = plan
  variables {
    bucket = "gs://profiles"
  }
  expect_failures = [var.bucket]
}

run "raw_days_must_be_whole" {
  command = plan
  variables {
    raw_days = 0.5
  }
  expect_failures = [var.raw_days]
}

run "block_days_must_not_be_less_than_raw_days" {
  command = plan
  variables {
    raw_days   = 60
    block_days = 30
  }
  expect_failures = [var.block_days]
}

run "public_access_requires_keys" {
  command = plan
  variables {
    access = "public"
  }
  expect_failures = [var.access]
}

run "keys_require_public_access" {
  command = plan
  variables {
    keys = [{ name = "a", sha256 = "0000000000000000000000000000000000000000000000000000000000000000", scopes = ["read"] }]
  }
  expect_failures = [var.access]
}

run "access_must_be_public_or_iam" {
  command = plan
  variables {
    access = "private"
  }
  expect_failures = [var.access]
}

run "a_key_must_be_a_hash" {
  command = plan
  variables {
    access = "public"
    keys   = [{ name = "a", sha256 = "pb_c2VjcmV0", scopes = ["read"] }]
  }
  expect_failures = [var.keys]
}

run "the_scopes_of_a_key_must_exist" {
  command = plan
  variables {
    access = "public"
    keys   = [{ name = "a", sha256 = "0000000000000000000000000000000000000000000000000000000000000000", scopes = ["owner"] }]
  }
  expect_failures = [var.keys]
}

run "the_services_of_a_key_must_not_be_empty" {
  command = plan
  variables {
    access = "public"
    keys   = [{ name = "a", sha256 = "0000000000000000000000000000000000000000000000000000000000000000", scopes = ["read"], services = [] }]
  }
  expect_failures = [var.keys]
}

run "names_of_keys_must_be_unique" {
  command = plan
  variables {
    access = "public"
    keys = [
      { name = "a", sha256 = "0000000000000000000000000000000000000000000000000000000000000000", scopes = ["read"] },
      { name = "a", sha256 = "1111111111111111111111111111111111111111111111111111111111111111", scopes = ["write"] },
    ]
  }
  expect_failures = [var.keys]
}

run "writers_must_not_be_all_users" {
  command = plan
  variables {
    writers = ["allUsers"]
  }
  expect_failures = [var.writers]
}

run "readers_must_not_be_all_authenticated_users" {
  command = plan
  variables {
    readers = ["allAuthenticatedUsers"]
  }
  expect_failures = [var.readers]
}

run "sized_functions_must_exist" {
  command = plan
  variables {
    functions = { reed = { memory = "1Gi" } }
  }
  expect_failures = [var.functions]
}

run "memory_must_have_a_unit" {
  command = plan
  variables {
    functions = { merge = { memory = "2048" } }
  }
  expect_failures = [var.functions]
}

run "cpu_must_be_whole" {
  command = plan
  variables {
    functions = { write = { cpu = "0.5" } }
  }
  expect_failures = [var.functions]
}

run "concurrency_must_be_positive" {
  command = plan
  variables {
    functions = { write = { concurrency = 0 } }
  }
  expect_failures = [var.functions]
}

run "timeout_must_not_exceed_an_hour" {
  command = plan
  variables {
    functions = { merge = { timeout_seconds = 7200 } }
  }
  expect_failures = [var.functions]
}

run "max_instances_must_be_positive" {
  command = plan
  variables {
    functions = { merge = { max_instances = 0 } }
  }
  expect_failures = [var.functions]
}

run "min_instances_must_not_exceed_max_instances" {
  command = plan
  variables {
    functions = { merge = { min_instances = 6 } }
  }
  expect_failures = [google_cloudfunctions2_function.function["merge"]]
}

run "limits_must_exist" {
  command = plan
  variables {
    limits = { bodies = 1 }
  }
  expect_failures = [var.limits]
}

run "limits_must_be_positive" {
  command = plan
  variables {
    limits = { merge = 0 }
  }
  expect_failures = [var.limits]
}

run "schedule_must_be_a_cron_expression" {
  command = plan

  variables {
    compact_schedule = "hourly"
  }

  expect_failures = [var.compact_schedule]
}
