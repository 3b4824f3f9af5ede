# What an operator must know before data are lost: profiles expire after raw_days, whether they are in a block or not.

locals {
  log_of = { for name in ["write", "compact"] : name => "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${var.name}-${name}\"" }

  # Metrics of log lines, whose messages are those of profbucket/maintenance/compactor.py.
  log_metrics = {
    compaction_done = {
      description = "Runs of compaction that ended."
      filter      = "jsonPayload.message=\"compaction done\""
      value       = null
    }
    compaction_failed = {
      description = "Services and profile types whose compaction failed, and runs that did not finish in time."
      filter      = "jsonPayload.message=(\"compaction of a lane failed\" OR \"compaction incomplete\")"
      value       = null
    }
    oldest_head_seconds = {
      description = "Age of the oldest profile that should be in a block and is not."
      filter      = "jsonPayload.message=\"compaction done\""
      value       = "EXTRACT(jsonPayload.oldest_head_seconds)"
    }
  }

  # A day before the first profile expires would be too late for a long weekend.
  oldest_head_days = min(3, var.raw_days / 2)

  metric_filter = { for name in keys(local.log_metrics) : name => "metric.type=\"logging.googleapis.com/user/${google_logging_metric.compaction[name].name}\" AND resource.type=\"cloud_run_revision\"" }

  alerts = {
    "compaction fails" = {
      severity      = "ERROR"
      filter        = local.metric_filter["compaction_failed"]
      absent        = false
      duration      = "21600s"
      alignment     = "3600s"
      aligner       = "ALIGN_DELTA"
      threshold     = 0
      documentation = "Every hour for six hours, compaction of a service and type failed, or did not finish in time. Its profiles expire ${var.raw_days} days after they were posted. The log of ${var.name}-compact names service, type and error."
    }
    "compaction does not run" = {
      severity      = "ERROR"
      filter        = local.metric_filter["compaction_done"]
      absent        = true
      duration      = "21600s"
      alignment     = "3600s"
      aligner       = "ALIGN_DELTA"
      threshold     = 0
      documentation = "For six hours, no compaction has ended. Check the job ${var.name}-compact of Cloud Scheduler and the log of the function."
    }
    "profiles wait for compaction" = {
      severity      = "CRITICAL"
      filter        = local.metric_filter["oldest_head_seconds"]
      absent        = false
      duration      = "0s"
      alignment     = "3600s"
      aligner       = "ALIGN_PERCENTILE_99"
      threshold     = local.oldest_head_days * 24 * 60 * 60
      documentation = "A profile is older than ${local.oldest_head_days} days and in no block. It expires after ${var.raw_days} days, and is lost then. The log of ${var.name}-compact says why; raise raw_days for more time."
    }
    "writes fail" = {
      severity      = "CRITICAL"
      filter        = "metric.type=\"run.googleapis.com/request_count\" AND ${local.log_of["write"]} AND metric.labels.response_code_class=\"5xx\""
      absent        = false
      duration      = "900s"
      alignment     = "300s"
      aligner       = "ALIGN_DELTA"
      threshold     = 0
      documentation = "For a quarter of an hour, ${var.name}-write has answered posts with 5xx. Agents retry for a while, and then lose profiles."
    }
  }
}

resource "google_logging_metric" "compaction" {
  for_each = local.log_metrics

  project         = var.project
  name            = "${var.name}_${each.key}"
  description     = each.value.description
  filter          = "${local.log_of["compact"]} AND ${each.value.filter}"
  value_extractor = each.value.value

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = each.value.value == null ? "INT64" : "DISTRIBUTION"
    unit        = each.value.value == null ? "1" : "s"
  }

  depends_on = [google_project_service.api]
}

resource "google_monitoring_alert_policy" "alert" {
  for_each = local.alerts

  project               = var.project
  display_name          = "${var.name}: ${each.key}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = var.notification_channels

  conditions {
    display_name = each.key

    dynamic "condition_absent" {
      for_each = each.value.absent ? [each.value] : []

      content {
        filter   = condition_absent.value.filter
        duration = condition_absent.value.duration

        aggregations {
          alignment_period     = condition_absent.value.alignment
          per_series_aligner   = condition_absent.value.aligner
          cross_series_reducer = "REDUCE_SUM"
        }
      }
    }

    dynamic "condition_threshold" {
      for_each = each.value.absent ? [] : [each.value]

      content {
        filter          = condition_threshold.value.filter
        duration        = condition_threshold.value.duration
        comparison      = "COMPARISON_GT"
        threshold_value = condition_threshold.value.threshold

        aggregations {
          alignment_period     = condition_threshold.value.alignment
          per_series_aligner   = condition_threshold.value.aligner
          cross_series_reducer = condition_threshold.value.aligner == "ALIGN_DELTA" ? "REDUCE_SUM" : "REDUCE_MAX"
        }
      }
    }
  }

  documentation {
    content   = each.value.documentation
    mime_type = "text/markdown"
  }

  alert_strategy {
    auto_close = "86400s"
  }

  depends_on = [google_project_service.api]
}

# Cloud Run logs every request, next to the collector's own line. For posts that succeed that doubles the volume.
resource "google_logging_project_exclusion" "writes" {
  project     = var.project
  name        = "${var.name}-successful-writes"
  description = "Requests of ${var.name}-write that succeeded: run.googleapis.com/request_count counts them."
  filter      = "${local.log_of["write"]} AND log_id(\"run.googleapis.com/requests\") AND httpRequest.status<400"

  depends_on = [google_project_service.api]
}
