mock_provider "google" {}
mock_provider "time" {}
mock_provider "archive" {}

variables {
  project = "my-project"
}

run "alerts_go_to_the_channels" {
  command = plan

  variables {
    notification_channels = ["projects/my-project/notificationChannels/123"]
  }

  assert {
    condition = { for name, alert in google_monitoring_alert_policy.alert : name => alert.notification_channels } == {
      for name in ["compaction fails", "compaction does not run", "profiles wait for compaction", "writes fail"] : name => tolist(var.notification_channels)
    }
    error_message = "An alert is missing, or does not go to the channels."
  }
}

run "channels_are_named_as_google_names_them" {
  command = plan

  variables {
    notification_channels = ["ops@example.com"]
  }

  expect_failures = [var.notification_channels]
}

run "the_operator_is_warned_days_before_profiles_expire" {
  command = plan

  variables {
    raw_days = 14
  }

  assert {
    condition     = google_monitoring_alert_policy.alert["profiles wait for compaction"].conditions[0].condition_threshold[0].threshold_value == 3 * 24 * 60 * 60
    error_message = "The alert comes too late, or for every delay."
  }
}

run "a_short_retention_warns_at_half_of_it" {
  command = plan

  variables {
    raw_days = 1
  }

  assert {
    condition     = google_monitoring_alert_policy.alert["profiles wait for compaction"].conditions[0].condition_threshold[0].threshold_value == 12 * 60 * 60
    error_message = "Profiles expire before the alert."
  }
}

run "failures_for_six_hours_and_silence_for_six_hours_alert" {
  command = plan

  assert {
    condition = [
      google_monitoring_alert_policy.alert["compaction fails"].conditions[0].condition_threshold[0].duration,
      google_monitoring_alert_policy.alert["compaction does not run"].conditions[0].condition_absent[0].duration,
    ] == ["21600s", "21600s"]
    error_message = "The alerts on compaction do not cover six hours."
  }
}

run "requests_that_succeed_are_logged_once" {
  command = plan

  assert {
    condition     = google_logging_project_exclusion.writes.filter == "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"profbucket-write\" AND log_id(\"run.googleapis.com/requests\") AND httpRequest.status<400"
    error_message = "The exclusion is too wide or too narrow."
  }
}
