# The list of programs that the function scrape fetches profiles from.

resource "google_storage_bucket_object" "targets" {
  # With targets = [] the object is maintained outside of terraform.
  count = try(length(var.targets), 0) > 0 ? 1 : 0

  name         = "_/targets.json"
  bucket       = google_storage_bucket.profiles.name
  content_type = "application/json"
  content      = jsonencode([for target in var.targets : { for field, value in target : field => value if value != null }])
}
