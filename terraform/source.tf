# The archive that the functions are built from, in its own bucket.

locals {
  # The root of the repository.
  code = "${path.module}/.."

  # The deployed files by path in the archive: an allow-list, because Cloud Build compiles every file, and one that does
  # not compile makes the deployment fail. Cloud Build expects main.py and requirements.txt at the root.
  files = merge(
    {
      "main.py"          = "functions/main.py"
      "requirements.txt" = "functions/requirements.txt"
    },
    {
      for path in sort(flatten([for pattern in local.shipped : fileset(local.code, pattern)])) : path => path
      # Skip the temporary files of editors, such as .#main.py.
      if !startswith(basename(path), ".")
    }
  )

  shipped = [
    "profbucket/**/*.py",
    "profbucket/api/*.json",
    "profbucket/ui/**/*.{css,html,js,json,svg}",
    "storage_gcs/**/*.{json,py}",
    "storage_local/**/*.py",
  ]
}

# Depends only on the content of the files, not on their times and modes or on the umask: the same code has the same
# hash everywhere, and a plan after an apply is empty.
data "archive_file" "source" {
  type        = "zip"
  output_path = "${path.root}/.terraform/${var.name}.zip"

  dynamic "source" {
    for_each = local.files

    content {
      filename = source.key
      content  = file("${local.code}/${source.value}")
    }
  }
}

resource "google_storage_bucket" "source" {
  name     = "${local.bucket}-source"
  project  = var.project
  location = var.region
  labels   = var.labels

  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true # the code is in git

  soft_delete_policy {
    retention_duration_seconds = 0
  }

  depends_on = [google_project_service.api]
}

resource "google_storage_bucket_object" "source" {
  # Changed code changes the name, which makes Cloud Functions build every function again.
  name   = "${var.name}-${data.archive_file.source.output_md5}.zip"
  bucket = google_storage_bucket.source.name
  source = data.archive_file.source.output_path

  lifecycle {
    create_before_destroy = true # no function refers to a deleted archive
  }
}
