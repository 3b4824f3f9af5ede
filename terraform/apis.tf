locals {
  apis = concat([
    "artifactregistry.googleapis.com", # stores the functions' images
    "cloudbuild.googleapis.com",       # builds them
    "cloudfunctions.googleapis.com",
    "cloudresourcemanager.googleapis.com", # grants roles on the project; see "Deploy" in docs/operations.md
    "cloudscheduler.googleapis.com",       # calls compact and scrape
    "cloudtasks.googleapis.com",           # calls compact for each service
    "firestore.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com", # signs URLs
    "logging.googleapis.com",
    "monitoring.googleapis.com", # alerts
    "run.googleapis.com",        # runs the functions
    "secretmanager.googleapis.com",
    "storage.googleapis.com",
    ], var.sql ? [
    "bigquery.googleapis.com",
    "bigqueryconnection.googleapis.com", # reads the samples in the bucket
  ] : [])
}

resource "google_project_service" "api" {
  for_each = toset(local.apis)

  project = var.project
  service = each.value

  # Other applications in the project may depend on the API by then.
  disable_on_destroy = false
}
