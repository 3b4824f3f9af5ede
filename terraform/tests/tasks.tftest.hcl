mock_provider "google" {
  mock_data "google_project" {
    defaults = {
      number = "123456789012"
    }
  }
}
mock_provider "time" {}
mock_provider "archive" {}

variables {
  project = "my-project"
}

run "compact_gets_its_queue_and_no_other_function_does" {
  assert {
    condition = {
      for name, f in google_cloudfunctions2_function.function : name => { for key, value in f.service_config[0].environment_variables : key => value if startswith(key, "PROFBUCKET_COMPACT_") }
      if anytrue([for key in keys(f.service_config[0].environment_variables) : startswith(key, "PROFBUCKET_COMPACT_")])
      } == {
      compact = {
        PROFBUCKET_COMPACT_QUEUE   = google_cloud_tasks_queue.compact.id
        PROFBUCKET_COMPACT_INVOKER = google_service_account.scheduler.email
        PROFBUCKET_COMPACT_URL     = "https://profbucket-compact-123456789012.us-central1.run.app"
      }
    }
    error_message = "compact does not know its queue, its own URL or the account of its tasks, or another function does."
  }
}

run "only_compact_adds_tasks_and_acts_as_the_scheduler" {
  assert {
    condition     = google_cloud_tasks_queue_iam_member.compact.member == google_service_account.function["compact"].member && google_cloud_tasks_queue_iam_member.compact.role == "roles/cloudtasks.enqueuer"
    error_message = "compact cannot add tasks."
  }
  assert {
    condition     = google_service_account_iam_member.compact_invoker.member == google_service_account.function["compact"].member && google_service_account_iam_member.compact_invoker.service_account_id == google_service_account.scheduler.name
    error_message = "compact cannot add tasks with the token of the account that may call it."
  }
}

run "the_queue_leaves_an_instance_to_the_scheduler" {
  command = plan

  assert {
    condition     = google_cloud_tasks_queue.compact.rate_limits[0].max_concurrent_dispatches == google_cloudfunctions2_function.function["compact"].service_config[0].max_instance_count - 1
    error_message = "While the queue is busy, Cloud Run would refuse some of its calls, or the call that adds tasks."
  }
}
