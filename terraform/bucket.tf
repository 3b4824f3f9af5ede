# The bucket of profiles. It is the source of truth: `profbucket reindex` rebuilds the database from it.

locals {
  bucket = coalesce(var.bucket, "${replace(replace(var.project, ":", "-"), ".", "-")}-${var.name}")

  # What is deleted, and after how many days. Raw profiles are matched by suffix, because their keys start with the
  # name of a service. Everything else has the prefix _/ and none of these suffixes.
  lifecycle = concat([
    { days = var.raw_days, suffixes = [".pb.gz", ".trace", ".batch"], prefixes = [] },
    { days = var.block_days, suffixes = [], prefixes = ["_/blocks/"] },
    { days = 1, suffixes = [], prefixes = ["_/results/"] },
    ], var.samples_days == null ? [] : [
    # All dates but that of the file without rows, see sql.tf.
    { days = var.samples_days, suffixes = [], prefixes = ["_/samples/v1/date=2"] },
  ])
}

resource "google_storage_bucket" "profiles" {
  name     = local.bucket
  project  = var.project
  location = var.region
  labels   = var.labels

  # The only class without a retrieval fee or a minimum storage duration.
  storage_class               = "STANDARD"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.protected

  # Soft delete would keep, and bill, every expired profile for another week.
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
