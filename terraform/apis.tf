locals {
  apis = [
    "artifactregistry.googleapis.com", # stores the functions' images
    "cloudbuild.googleapis.com",       # builds them
    "cloudfunctions.googleapis.com",
    "cloudscheduler.googleapis.com", # calls compact and scrape
    "firestore.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com", # signs URLs
    "run.googleapis.com",            # runs the functions
    "secretmanager.googleapis.com",
    "storage.googleapis.com",
  ]
}

resource "google_project_service" "api" {
  for_each = toset(local.apis)

  project = var.project
  service = each.value

  # Other applications in the project may depend on the API by then.
  disable_on_destroy = false
}
