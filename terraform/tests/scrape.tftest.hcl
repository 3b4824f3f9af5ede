mock_provider "google" {}
mock_provider "time" {}
mock_provider "archive" {}

variables {
  project = "my-project"
}

run "without_targets_nothing_is_scraped" {
  command = plan

  assert {
    condition     = !contains(keys(google_cloudfunctions2_function.function), "scrape") && !contains(keys(google_cloud_scheduler_job.job), "scrape") && length(google_storage_bucket_object.targets) == 0
    error_message = "There is a scraper without targets."
  }
}

run "the_object_holds_the_fields_that_are_set" {
  variables {
    targets = [
      { url = "http://10.0.0.5:6060", service = "api" },
      { url = "https://b.example/prof", service = "b", labels = { version = "1" }, seconds = 5, profiles = ["heap"] },
    ]
  }

  assert {
    condition = jsondecode(google_storage_bucket_object.targets[0].content) == [
      { url = "http://10.0.0.5:6060", service = "api" },
      { url = "https://b.example/prof", service = "b", labels = { version = "1" }, seconds = 5, profiles = ["heap"] },
    ]
    error_message = "The object does not hold exactly the given targets."
  }
  assert {
    condition     = google_storage_bucket_object.targets[0].name == "_/targets.json" && google_storage_bucket_object.targets[0].bucket == google_storage_bucket.profiles.name
    error_message = "The object is not where the function reads it."
  }
}

run "empty_targets_leave_the_object_alone" {
  command = plan

  variables {
    targets = []
  }

  assert {
    condition     = length(google_storage_bucket_object.targets) == 0 && contains(keys(google_cloudfunctions2_function.function), "scrape")
    error_message = "With [] there is no function, or terraform manages the object."
  }
}

run "only_the_scheduler_calls_scrape" {
  variables {
    access  = "public"
    keys    = [{ name = "a", sha256 = "0000000000000000000000000000000000000000000000000000000000000000", scopes = ["write"] }]
    targets = []
  }

  assert {
    condition     = google_cloud_run_v2_service_iam_member.scheduler["scrape"].member == google_service_account.scheduler.member
    error_message = "The scheduler may not call the function."
  }
  assert {
    condition     = alltrue([for name in keys(google_cloud_run_v2_service_iam_member.invoker) : !startswith(name, "scrape")])
    error_message = "With access \"public\" anyone may call the function."
  }
  assert {
    condition = (
      google_cloud_scheduler_job.job["scrape"].http_target[0].oidc_token[0].service_account_email == google_service_account.scheduler.email
      && google_cloud_scheduler_job.job["scrape"].http_target[0].oidc_token[0].audience == google_cloud_scheduler_job.job["scrape"].http_target[0].uri
      && google_cloud_scheduler_job.job["scrape"].http_target[0].http_method == "POST"
    )
    error_message = "The scheduler does not identify itself to the function."
  }
  assert {
    condition     = !contains(keys(google_cloudfunctions2_function.function["scrape"].service_config[0].environment_variables), "PROFBUCKET_KEYS") && length(google_cloudfunctions2_function.function["scrape"].service_config[0].secret_environment_variables) == 0
    error_message = "The function has API keys, which it does not need."
  }
}

run "a_target_needs_a_url" {
  command = plan

  variables {
    targets = [{ url = "10.0.0.5:6060", service = "api" }]
  }

  expect_failures = [var.targets]
}

run "scrape_can_reach_a_network" {
  command = plan

  variables {
    targets        = []
    scrape_network = { network = "default", subnetwork = "apps" }
  }

  assert {
    condition     = google_cloudfunctions2_function.function["scrape"].service_config[0].direct_vpc_network_interface[0].subnetwork == "apps"
    error_message = "The function is not connected to the network of its targets."
  }
}

run "one_instance_scrapes" {
  command = plan

  variables {
    targets = []
  }

  assert {
    condition     = google_cloudfunctions2_function.function["scrape"].service_config[0].max_instance_count == 1
    error_message = "More than one instance can scrape, although runs never overlap."
  }
}
