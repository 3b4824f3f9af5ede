locals {
  apis = [
    "artifactregistry.googleapis.com", # where the functions' images lie
    "cloudbuild.googleapis.com",       # what makes them
    "cloudfunctions.googleapis.com",
    "cloudscheduler.googleapis.com", # calls compact and scrape
    "firestore.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com", # signs URLs
    "run.googleapis.com",            # what the functions run on
    "secretmanager.googleapis.com",
    "storage.googleapis.com",
  ]
}

resource "google_project_service" "api" {
  for_each = toset(local.apis)

  project = var.project
  service = each.value

  # Others in the project may have come to need it.
  disable_on_destroy = false
}
