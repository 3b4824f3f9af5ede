# The queue that spreads a compaction over instances: the scheduled call adds a task for each service and profile type
# that has something to do, and each task is a call of the same function.

resource "google_cloud_tasks_queue" "compact" {
  project  = var.project
  location = var.region
  name     = "${var.name}-compact"

  rate_limits {
    # One less than the instances serve: the call of the scheduler, which adds the tasks, must find one, too.
    max_concurrent_dispatches = local.sizes["compact"].max_instances * local.sizes["compact"].concurrency - 1
    max_dispatches_per_second = 10
  }

  # What fails three times is tried again after the next scheduled call.
  retry_config {
    max_attempts = 3
    min_backoff  = "60s"
    max_backoff  = "600s"
  }

  depends_on = [google_project_service.api]
}

resource "google_cloud_tasks_queue_iam_member" "compact" {
  project  = var.project
  location = var.region
  name     = google_cloud_tasks_queue.compact.name
  role     = "roles/cloudtasks.enqueuer"
  member   = google_service_account.function["compact"].member
}

# A task carries a token of the account that may call the function. To add one, compact must be allowed to act as it.
resource "google_service_account_iam_member" "compact_invoker" {
  service_account_id = google_service_account.scheduler.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.function["compact"].member
}

data "google_project" "project" {
  project_id = var.project

  depends_on = [google_project_service.api]
}

locals {
  compact_environment = merge({
    PROFBUCKET_COMPACT_QUEUE   = google_cloud_tasks_queue.compact.id
    PROFBUCKET_COMPACT_INVOKER = google_service_account.scheduler.email
    # The second URL of every Cloud Run service. A function's first one is known only after it was made.
    PROFBUCKET_COMPACT_URL = "https://${var.name}-compact-${data.google_project.project.number}.${var.region}.run.app"
  }, local.writes_samples ? { PROFBUCKET_SAMPLES = "1" } : {})
}
