# Profiles of what pushes none: a function that fetches them, and a clock that tells it to, once a minute. Without
# targets there is neither.

variable "targets" {
  description = <<-EOT
    What to fetch profiles from, as in [{ url = "http://10.0.0.5:6060", service = "api" }]; docs/operations.md has all
    of it. They become the object _/targets.json of the bucket. With [] that object is yours to keep up; without
    targets nothing is scraped. Headers stand in terraform's state and in the object.
  EOT
  type = list(object({
    url             = string
    service         = string
    labels          = optional(map(string))
    profiles        = optional(list(string))
    seconds         = optional(number)
    timeout_seconds = optional(number)
    headers         = optional(map(string))
    allow           = optional(list(string))
  }))
  default = null

  validation {
    condition     = alltrue([for one in coalesce(var.targets, []) : can(regex("^https?://[^/?#]+(/[^?#]*)?$", one.url))])
    error_message = "A target's url is as in http://10.0.0.5:6060, or with the path below which its profiles are."
  }
  validation {
    condition     = alltrue([for one in coalesce(var.targets, []) : one.service != ""])
    error_message = "A target has a service, by which its profiles are found."
  }
}

variable "scrape_network" {
  description = "The network and subnetwork that targets are reached in, where they have no public addresses: { network = \"default\", subnetwork = \"default\" }."
  type        = object({ network = string, subnetwork = string })
  default     = null
}

locals {
  scrapers = var.targets == null ? {} : { scrape = var.targets }
  listed   = try(length(var.targets), 0) > 0 ? local.scrapers : {}
}

resource "google_storage_bucket_object" "targets" {
  for_each = local.listed

  name         = "_/targets.json"
  bucket       = google_storage_bucket.profiles.name
  content_type = "application/json"
  content      = jsonencode([for one in each.value : { for field, value in one : field => value if value != null }])
}

resource "google_service_account" "scrape" {
  for_each = local.scrapers

  project      = var.project
  account_id   = "${var.name}-scrape"
  display_name = "profbucket scrape"
  description  = "Fetches profiles and stores them."

  depends_on = [google_project_service.api]
}

resource "google_storage_bucket_iam_member" "scrape" {
  for_each = var.targets == null ? {} : {
    "write profiles" = local.bucket_grants["write profiles"]
    "read targets"   = { role = "roles/storage.objectViewer", condition = "resource.name == \"${local.objects}_/targets.json\"" }
  }

  bucket = google_storage_bucket.profiles.name
  role   = each.value.role
  member = google_service_account.scrape["scrape"].member

  condition {
    title      = "scrape may ${each.key}"
    expression = each.value.condition
  }
}

resource "google_project_iam_member" "scrape" {
  for_each = local.scrapers

  project = var.project
  role    = local.index_grants["write entries"]
  member  = google_service_account.scrape[each.key].member

  condition {
    title      = "scrape may write entries"
    expression = "resource.name == \"projects/${var.project}/databases/${google_firestore_database.index.name}\""
  }
}

resource "google_cloudfunctions2_function" "scrape" {
  for_each = local.scrapers

  name        = "${var.name}-scrape"
  project     = var.project
  location    = var.region
  description = "Fetches profiles of the targets in _/targets.json."
  labels      = var.labels

  build_config {
    runtime         = "python313"
    entry_point     = "scrape"
    service_account = google_service_account.build.id

    source {
      storage_source {
        bucket = google_storage_bucket_object.source.bucket
        object = google_storage_bucket_object.source.name
      }
    }
  }

  service_config {
    available_memory                 = "1Gi"
    available_cpu                    = "1"
    max_instance_request_concurrency = 1
    timeout_seconds                  = 360 # a target's longest time-out, and the minute that begins are spread over
    min_instance_count               = 0
    max_instance_count               = 6
    ingress_settings                 = "ALLOW_ALL" # the clock comes from outside of all networks
    service_account_email            = google_service_account.scrape[each.key].email

    # Google lets the clock through and no one else, whatever access is: there is no key to ask for.
    environment_variables = merge(local.environment, {
      PROFBUCKET_ANONYMOUS = "1"
      MALLOC_ARENA_MAX     = "1"
    })

    direct_vpc_egress = var.scrape_network == null ? null : "VPC_EGRESS_PRIVATE_RANGES_ONLY"

    dynamic "direct_vpc_network_interface" {
      for_each = var.scrape_network == null ? [] : [var.scrape_network]

      content {
        network    = direct_vpc_network_interface.value.network
        subnetwork = direct_vpc_network_interface.value.subnetwork
      }
    }
  }

  depends_on = [
    google_firestore_index.index,
    google_project_iam_member.build,
    google_project_iam_member.scrape,
    google_storage_bucket_iam_member.scrape,
  ]
}

resource "google_cloud_run_v2_service_iam_member" "scrape" {
  for_each = local.scrapers

  project  = var.project
  location = var.region
  name     = google_cloudfunctions2_function.scrape[each.key].name
  role     = "roles/run.invoker"
  member   = google_service_account.scheduler.member
}

resource "google_cloud_scheduler_job" "scrape" {
  for_each = local.scrapers

  name             = "${var.name}-scrape"
  project          = var.project
  region           = var.region
  description      = "Has profiles fetched, once a minute."
  schedule         = "* * * * *"
  time_zone        = "Etc/UTC"
  attempt_deadline = "360s"

  http_target {
    http_method = "POST"
    uri         = google_cloudfunctions2_function.scrape[each.key].service_config[0].uri

    oidc_token {
      service_account_email = google_service_account.scheduler.email
      audience              = google_cloudfunctions2_function.scrape[each.key].service_config[0].uri
    }
  }

  retry_config {
    retry_count = 0 # the next minute comes
  }

  depends_on = [google_cloud_run_v2_service_iam_member.scrape]
}
