# The profiles. The bucket is the source of truth: the database can be made anew from it.

locals {
  bucket = coalesce(var.bucket, "${replace(replace(var.project, ":", "-"), ".", "-")}-${var.name}")

  # What has to go, and after how many days. Raw profiles are told by their ending, because their keys begin with any
  # service's name; everything else lies below _/, and nothing there ends as they do.
  lifecycle = [
    { days = var.raw_days, suffixes = [".pb.gz", ".trace"], prefixes = [] },
    { days = var.block_days, suffixes = [], prefixes = ["_/blocks/"] },
    { days = 1, suffixes = [], prefixes = ["_/results/"] },
  ]
}

resource "google_storage_bucket" "profiles" {
  name     = local.bucket
  project  = var.project
  location = var.region
  labels   = var.labels

  # The class with no fee for reading and no minimum age: a profile is small, and gone after a month.
  storage_class               = "STANDARD"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.protected

  # It would keep, and bill, each profile for a week after it has expired.
  soft_delete_policy {
    retention_duration_seconds = 0
  }

  dynamic "lifecycle_rule" {
    for_each = local.lifecycle

    content {
      action {
        type = "Delete"
      }
      condition {
        age            = lifecycle_rule.value.days
        matches_suffix = lifecycle_rule.value.suffixes
        matches_prefix = lifecycle_rule.value.prefixes
      }
    }
  }

  depends_on = [google_project_service.api]
}
