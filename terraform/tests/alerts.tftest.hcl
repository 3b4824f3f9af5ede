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
    condition     = endswith(google_logging_metric.compaction["compaction_late"].filter, " AND jsonPayload.message=\"compaction done\" AND jsonPayload.oldest_head_seconds>259200")
    error_message = "The alert comes too late, or for every delay."
  }
}

run "a_short_retention_warns_at_half_of_it" {
  command = plan

  variables {
    raw_days = 1
  }

  assert {
    condition     = endswith(google_logging_metric.compaction["compaction_late"].filter, " AND jsonPayload.oldest_head_seconds>43200")
    error_message = "Profiles expire before the alert."
  }
}

run "failures_and_silence_of_compaction_and_failing_writes_alert" {
  command = plan

  assert {
    condition = { for name, alert in google_monitoring_alert_policy.alert : name => join(" for ", [
      alert.conditions[0].condition_prometheus_query_language[0].query, alert.conditions[0].condition_prometheus_query_language[0].duration
      ]) } == {
      "compaction fails"             = "sum(increase({\"logging.googleapis.com/user/profbucket_compaction_failed\",monitored_resource=\"cloud_run_revision\"}[2h])) > 0 for 21600s"
      "compaction does not run"      = "(sum(increase({\"logging.googleapis.com/user/profbucket_compaction_done\",monitored_resource=\"cloud_run_revision\"}[1h])) or vector(0)) == 0 for 18000s"
      "profiles wait for compaction" = "sum(increase({\"logging.googleapis.com/user/profbucket_compaction_late\",monitored_resource=\"cloud_run_revision\"}[2h])) > 0 for 0s"
      "writes fail"                  = "sum(increase({\"run.googleapis.com/request_count\",monitored_resource=\"cloud_run_revision\",service_name=\"profbucket-write\",response_code_class=\"5xx\"}[5m])) > 0 for 900s"
    }
    error_message = "An alert has another condition: compaction that never ran must alert, too."
  }
}

run "alerts_on_metrics_without_data_can_be_made" {
  command = plan

  assert {
    condition     = alltrue([for alert in google_monitoring_alert_policy.alert : alert.conditions[0].condition_prometheus_query_language[0].disable_metric_validation])
    error_message = "The first apply would fail, because metrics exist some minutes after they were made."
  }
}

run "requests_that_succeed_are_logged_once" {
  command = plan

  assert {
    condition     = google_logging_project_exclusion.writes.filter == "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"profbucket-write\" AND log_id(\"run.googleapis.com/requests\") AND httpRequest.status<400"
    error_message = "The exclusion is too wide or too narrow."
  }
}
