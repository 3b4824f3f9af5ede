# What is done by the clock. The scheduler shows who it is with a token of Google's, which is checked before the function
# is started; no one else is let through to it.

resource "google_service_account" "scheduler" {
  project      = var.project
  account_id   = "${var.name}-scheduler"
  display_name = "profbucket scheduler"
  description  = "Calls the functions that work by the clock."

  depends_on = [google_project_service.api]
}

resource "google_cloud_scheduler_job" "job" {
  for_each = local.scheduled

  name             = "${var.name}-${each.key}"
  project          = var.project
  region           = var.region
  description      = local.functions[each.key].description
  schedule         = each.value
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
}

resource "google_cloud_run_v2_service_iam_member" "scheduler" {
  for_each = local.scheduled

  project  = var.project
  location = var.region
  name     = google_cloudfunctions2_function.function[each.key].name
  role     = "roles/run.invoker"
  member   = google_service_account.scheduler.member
}
