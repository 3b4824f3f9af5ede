# Functions that run on a schedule. Cloud Scheduler identifies itself with an OIDC token, which Google checks before the
# function starts. Nobody else may call them.

resource "google_service_account" "scheduler" {
  project      = var.project
  account_id   = "${var.name}-scheduler"
  display_name = "profbucket scheduler"
  description  = "Calls the functions that run on a schedule."

  depends_on = [google_project_service.api]
}

resource "google_cloud_scheduler_job" "job" {
  for_each = local.scheduled

  name             = "${var.name}-${each.key}"
  project          = var.project
  region           = var.region
  description      = each.value.description
  schedule         = each.value.schedule
  time_zone        = "Etc/UTC"
  attempt_deadline = "${local.sizes[each.key].timeout_seconds}s"

  http_target {
    uri         = local.urls[each.key]
    http_method = "POST"

    oidc_token {
      service_account_email = google_service_account.scheduler.email
      audience              = local.urls[each.key]
    }
  }

  # No retries: the next run does what this one did not.
  retry_config {
    retry_count = 0
  }

  depends_on = [google_cloud_run_v2_service_iam_member.scheduler]
}

resource "google_cloud_run_v2_service_iam_member" "scheduler" {
  for_each = local.scheduled

  project  = var.project
  location = var.region
  name     = local.services[each.key]
  role     = "roles/run.invoker"
  member   = google_service_account.scheduler.member
}
