mock_provider "google" {}
mock_provider "archive" {}

variables {
  project = "my-project"
}

run "without_targets_nothing_is_scraped" {
  command = plan

  assert {
    condition     = length(google_cloudfunctions2_function.scrape) + length(google_cloud_scheduler_job.scrape) + length(google_storage_bucket_object.targets) == 0
    error_message = "There is a scraper that no one asked for."
  }
}

run "targets_are_an_object_without_what_is_not_given" {
  variables {
    targets = [
      { url = "http://10.0.0.5:6060", service = "api" },
      { url = "https://b.example/prof", service = "b", labels = { version = "1" }, seconds = 5, profiles = ["heap"] },
    ]
  }

  assert {
    condition = jsondecode(google_storage_bucket_object.targets["scrape"].content) == [
      { url = "http://10.0.0.5:6060", service = "api" },
      { url = "https://b.example/prof", service = "b", labels = { version = "1" }, seconds = 5, profiles = ["heap"] },
    ]
    error_message = "The object does not hold the targets as they were given."
  }
  assert {
    condition     = google_storage_bucket_object.targets["scrape"].name == "_/targets.json" && google_storage_bucket_object.targets["scrape"].bucket == google_storage_bucket.profiles.name
    error_message = "The function does not find the targets there."
  }
}

run "a_list_that_someone_else_keeps_is_left_alone" {
  command = plan

  variables {
    targets = []
  }

  assert {
    condition     = length(google_storage_bucket_object.targets) == 0 && length(google_cloudfunctions2_function.scrape) == 1
    error_message = "With [] the function is there, and the object is not ours."
  }
}

run "the_clock_and_no_one_else_calls_it_with_a_token_for_it" {
  variables {
    access  = "public"
    keys    = [{ name = "a", sha256 = "0000000000000000000000000000000000000000000000000000000000000000", scopes = ["write"] }]
    targets = []
  }

  assert {
    condition     = google_cloud_run_v2_service_iam_member.scrape["scrape"].member == google_service_account.scheduler.member
    error_message = "Someone else may call the function."
  }
  assert {
    condition     = alltrue([for one in google_cloud_run_v2_service_iam_member.invoker : !endswith(one.name, "-scrape")])
    error_message = "With access \"public\" everyone may call the function."
  }
  assert {
    condition = (
      google_cloud_scheduler_job.scrape["scrape"].http_target[0].oidc_token[0].service_account_email == google_service_account.scheduler.email
      && google_cloud_scheduler_job.scrape["scrape"].http_target[0].oidc_token[0].audience == google_cloud_scheduler_job.scrape["scrape"].http_target[0].uri
      && google_cloud_scheduler_job.scrape["scrape"].http_target[0].http_method == "POST"
    )
    error_message = "The clock does not say who it is, or not to the function."
  }
  assert {
    condition     = !contains(keys(google_cloudfunctions2_function.scrape["scrape"].service_config[0].environment_variables), "PROFBUCKET_KEYS") && length(google_cloudfunctions2_function.scrape["scrape"].service_config[0].secret_environment_variables) == 0
    error_message = "The function knows keys that it does not need."
  }
}

run "a_target_without_a_url_is_refused" {
  command = plan

  variables {
    targets = [{ url = "10.0.0.5:6060", service = "api" }]
  }

  expect_failures = [var.targets]
}

run "targets_can_be_in_a_network" {
  command = plan

  variables {
    targets        = []
    scrape_network = { network = "default", subnetwork = "apps" }
  }

  assert {
    condition     = google_cloudfunctions2_function.scrape["scrape"].service_config[0].direct_vpc_network_interface[0].subnetwork == "apps"
    error_message = "The function is not in the network of its targets."
  }
}
