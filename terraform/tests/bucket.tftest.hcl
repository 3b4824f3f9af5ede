mock_provider "google" {}
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
    error_message = "A bucket could be made public, by its policy or by an object's."
  }
}

run "profiles_expire_and_are_not_kept_beyond_that" {
  command = plan

  variables {
    raw_days   = 7
    block_days = 90
  }

  assert {
    condition = { for rule in google_storage_bucket.profiles.lifecycle_rule : join(" ", flatten([
      coalesce(one(rule.condition).matches_prefix, []), coalesce(one(rule.condition).matches_suffix, [])
      ])) => one(rule.condition).age if one(rule.action).type == "Delete" } == {
      ".pb.gz .trace" = 7
      "_/blocks/"     = 90
      "_/results/"    = 1
    }
    error_message = "Profiles, blocks and results do not expire as the variables say."
  }
  assert {
    condition     = one(google_storage_bucket.profiles.soft_delete_policy).retention_duration_seconds == 0
    error_message = "Soft delete keeps, and bills, what has expired."
  }
}

run "destroy_leaves_the_profiles" {
  command = plan

  assert {
    condition     = !google_storage_bucket.profiles.force_destroy && google_firestore_database.index.delete_protection_state == "DELETE_PROTECTION_ENABLED"
    error_message = "terraform destroy would delete profiles or their index."
  }
}

run "destroy_leaves_nothing_once_that_is_asked_for" {
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
    error_message = "terraform destroy would leave the database behind, unmanaged."
  }
}
