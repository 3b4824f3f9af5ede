mock_provider "google" {}
mock_provider "archive" {}

variables {
  project = "my-project"
}

run "a_project_is_not_a_number" {
  command = plan
  variables {
    project = "123456789"
  }
  expect_failures = [var.project]
}

run "a_region_is_not_a_zone_or_a_continent" {
  command = plan
  variables {
    region = "us-central1-a"
  }
  expect_failures = [var.region]
}

run "a_name_leaves_room_for_what_is_put_behind_it" {
  command = plan
  variables {
    name = "continuous-profiles-of-all"
  }
  expect_failures = [var.name]
}

run "a_bucket_is_not_a_url" {
  command = plan
  variables {
    bucket = "gs://profiles"
  }
  expect_failures = [var.bucket]
}

run "profiles_are_kept_for_whole_days" {
  command = plan
  variables {
    raw_days = 0.5
  }
  expect_failures = [var.raw_days]
}

run "blocks_outlive_the_profiles_in_them" {
  command = plan
  variables {
    raw_days   = 60
    block_days = 30
  }
  expect_failures = [var.block_days]
}

run "public_needs_keys" {
  command = plan
  variables {
    access = "public"
  }
  expect_failures = [var.access]
}

run "keys_need_public" {
  command = plan
  variables {
    keys = [{ name = "a", sha256 = "0000000000000000000000000000000000000000000000000000000000000000", scopes = ["read"] }]
  }
  expect_failures = [var.access]
}

run "access_is_one_of_two" {
  command = plan
  variables {
    access = "private"
  }
  expect_failures = [var.access]
}

run "a_key_is_a_hash_and_not_a_key" {
  command = plan
  variables {
    access = "public"
    keys   = [{ name = "a", sha256 = "pb_c2VjcmV0", scopes = ["read"] }]
  }
  expect_failures = [var.keys]
}

run "a_key_has_scopes_that_exist" {
  command = plan
  variables {
    access = "public"
    keys   = [{ name = "a", sha256 = "0000000000000000000000000000000000000000000000000000000000000000", scopes = ["owner"] }]
  }
  expect_failures = [var.keys]
}

run "a_key_is_for_some_service" {
  command = plan
  variables {
    access = "public"
    keys   = [{ name = "a", sha256 = "0000000000000000000000000000000000000000000000000000000000000000", scopes = ["read"], services = [] }]
  }
  expect_failures = [var.keys]
}

run "two_keys_have_two_names" {
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

run "writers_are_not_everyone" {
  command = plan
  variables {
    writers = ["allUsers"]
  }
  expect_failures = [var.writers]
}

run "readers_are_not_everyone_with_an_account" {
  command = plan
  variables {
    readers = ["allAuthenticatedUsers"]
  }
  expect_failures = [var.readers]
}

run "there_are_three_functions" {
  command = plan
  variables {
    functions = { reed = { memory = "1Gi" } }
  }
  expect_failures = [var.functions]
}

run "memory_has_a_unit" {
  command = plan
  variables {
    functions = { merge = { memory = "2048" } }
  }
  expect_failures = [var.functions]
}

run "many_requests_at_once_need_a_whole_cpu" {
  command = plan
  variables {
    functions = { write = { cpu = "0.5" } }
  }
  expect_failures = [var.functions]
}

run "an_instance_answers_at_least_one_request" {
  command = plan
  variables {
    functions = { write = { concurrency = 0 } }
  }
  expect_failures = [var.functions]
}

run "a_function_may_take_an_hour_and_not_longer" {
  command = plan
  variables {
    functions = { merge = { timeout_seconds = 7200 } }
  }
  expect_failures = [var.functions]
}

run "a_function_has_an_instance" {
  command = plan
  variables {
    functions = { merge = { max_instances = 0 } }
  }
  expect_failures = [var.functions]
}

run "there_are_not_more_instances_at_rest_than_there_may_be" {
  command = plan
  variables {
    functions = { merge = { min_instances = 6 } }
  }
  expect_failures = [google_cloudfunctions2_function.function["merge"]]
}

run "a_limit_is_one_that_the_code_has" {
  command = plan
  variables {
    limits = { bodies = 1 }
  }
  expect_failures = [var.limits]
}

run "a_limit_is_a_whole_number" {
  command = plan
  variables {
    limits = { merge = 0 }
  }
  expect_failures = [var.limits]
}

run "a_schedule_is_one_of_cron" {
  command = plan

  variables {
    compact_schedule = "hourly"
  }

  expect_failures = [var.compact_schedule]
}
