# What an operator must know before data are lost: profiles expire after raw_days, whether they are in a block or not.

locals {
  log_of = { for name in ["write", "compact"] : name => "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${var.name}-${name}\"" }

  # A day before the first profile expires would be too late for a long weekend.
  oldest_head_days = min(3, var.raw_days / 2)

  # Metrics that count log lines, whose messages are those of profbucket/maintenance/compactor.py.
  log_metrics = {
    compaction_done = {
      description = "Runs of compaction that ended."
      filter      = "jsonPayload.message=\"compaction done\""
    }
    compaction_failed = {
      description = "Services and profile types whose compaction failed, and runs that did not finish in time."
      filter      = "jsonPayload.message=(\"compaction of a lane failed\" OR \"compaction incomplete\")"
    }
    compaction_late = {
      description = "Runs of compaction after which a profile was older than ${local.oldest_head_days} days and in no block."
      filter      = "jsonPayload.message=\"compaction done\" AND jsonPayload.oldest_head_seconds>${local.oldest_head_days * 24 * 60 * 60}"
    }
  }

  # Selects each metric in PromQL.
  log_series = { for name, metric in google_logging_metric.compaction : name => "{\"logging.googleapis.com/user/${metric.name}\",monitored_resource=\"cloud_run_revision\"}" }

  # An alert is raised if its query has a result for as long as its duration.
  alerts = {
    "compaction fails" = {
      severity = "ERROR"
      # Two hours, because runs are not exactly an hour apart.
      query         = "sum(increase(${local.log_series.compaction_failed}[2h])) > 0"
      duration      = "21600s"
      documentation = "For six hours, compaction of a service and type has failed, or has not finished in time. Its profiles expire ${var.raw_days} days after they were posted. The log of ${var.name}-compact names service, type and error."
    }
    "compaction does not run" = {
      severity = "ERROR"
      # vector(0) also holds if compaction has never run, of which a condition on absent data knows nothing.
      query         = "(sum(increase(${local.log_series.compaction_done}[1h])) or vector(0)) == 0"
      duration      = "18000s"
      documentation = "For six hours, no compaction has ended. Check the job ${var.name}-compact of Cloud Scheduler and the log of the function."
    }
    "profiles wait for compaction" = {
      severity      = "CRITICAL"
      query         = "sum(increase(${local.log_series.compaction_late}[2h])) > 0"
      duration      = "0s"
      documentation = "A profile is older than ${local.oldest_head_days} days and in no block. It expires after ${var.raw_days} days, and is lost then. The log of ${var.name}-compact says why; raise raw_days for more time."
    }
    "writes fail" = {
      severity      = "CRITICAL"
      query         = "sum(increase({\"run.googleapis.com/request_count\",monitored_resource=\"cloud_run_revision\",service_name=\"${var.name}-write\",response_code_class=\"5xx\"}[5m])) > 0"
      duration      = "900s"
      documentation = "For a quarter of an hour, ${var.name}-write has answered posts with 5xx. Agents retry for a while, and then lose profiles."
    }
  }
}

resource "google_logging_metric" "compaction" {
  for_each = local.log_metrics

  project     = var.project
  name        = "${var.name}_${each.key}"
  description = each.value.description
  filter      = "${local.log_of["compact"]} AND ${each.value.filter}"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
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

    condition_prometheus_query_language {
      query               = each.value.query
      duration            = each.value.duration
      evaluation_interval = "60s"
      # A metric exists some minutes after it was made: without this, the first apply would fail.
      disable_metric_validation = true
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
