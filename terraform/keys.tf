# The API keys, in the format that the collector reads. They are hashes and cannot be used as keys. They are in a secret
# nevertheless, because the names of keys and services are confidential.

resource "google_secret_manager_secret" "keys" {
  count = length(var.keys) > 0 ? 1 : 0

  project   = var.project
  secret_id = "${var.name}-keys"
  labels    = var.labels

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [google_project_service.api]
}

resource "google_secret_manager_secret_version" "keys" {
  count = length(var.keys) > 0 ? 1 : 0

  secret      = google_secret_manager_secret.keys[0].id
  secret_data = jsonencode([for key in var.keys : { for field, value in key : field => value if value != null }])

  lifecycle {
    create_before_destroy = true # until the new revision serves, instances start with the old version
  }
}

resource "google_secret_manager_secret_iam_member" "keys" {
  for_each = length(var.keys) > 0 ? { for name, function in local.functions : name => function if local.requires_key[name] } : {}

  project   = var.project
  secret_id = google_secret_manager_secret.keys[0].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.function[each.key].member
}
