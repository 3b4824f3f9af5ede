mock_provider "google" {}
mock_provider "time" {}
mock_provider "archive" {}

variables {
  project = "my-project"
}

run "no_bucket_can_be_public" {
  command = plan

  assert {
    condition = alltrue([
      for bucket in [google_storage_bucket.profiles, google_storage_bucket.source] :
      bucket.public_access_prevention == "enforced" && bucket.uniform_bucket_level_access
    ])
    error_message = "The policy of a bucket or of an object could make it public."
  }
}

run "profiles_expire_and_are_not_retained" {
  command = plan

  variables {
    raw_days   = 7
    block_days = 90
  }

  assert {
    condition = { for rule in google_storage_bucket.profiles.lifecycle_rule : join(" ", flatten([
      coalesce(one(rule.condition).matches_prefix, []), coalesce(one(rule.condition).matches_suffix, [])
      ])) => one(rule.condition).age if one(rule.action).type == "Delete" } == {
      ".pb.gz .trace .batch" = 7
      "_/blocks/"            = 90
      "_/results/"           = 1
    }
    error_message = "Profiles, blocks or results do not expire after the configured number of days."
  }
  assert {
    condition     = one(google_storage_bucket.profiles.soft_delete_policy).retention_duration_seconds == 0
    error_message = "Soft delete keeps, and bills, expired objects."
  }
}

run "destroy_keeps_the_profiles" {
  command = plan

  assert {
    condition     = !google_storage_bucket.profiles.force_destroy && google_firestore_database.index.delete_protection_state == "DELETE_PROTECTION_ENABLED"
    error_message = "terraform destroy would delete profiles or their index."
  }
}

run "destroy_deletes_everything_when_unprotected" {
  command = plan

  variables {
    protected = false
  }

  assert {
    condition     = google_storage_bucket.profiles.force_destroy && google_firestore_database.index.delete_protection_state == "DELETE_PROTECTION_DISABLED"
    error_message = "terraform destroy would refuse to delete the profiles or their index."
  }
  assert {
    condition     = google_firestore_database.index.deletion_policy == "DELETE"
    error_message = "terraform destroy would abandon the database."
  }
}
