# The code that the functions are built from: an allow-list, laid out as it is imported, in a bucket of its own.

locals {
  # The root of the repository.
  code = "${path.module}/.."

  # What ships, by its path in the archive. The builder byte-compiles all of it and installs requirements.txt, so that
  # a file too many can break a deployment. main.py lies at the root, where the builder looks for it.
  files = merge(
    {
      "main.py"          = "functions/main.py"
      "requirements.txt" = "functions/requirements.txt"
    },
    {
      for path in sort(flatten([for pattern in local.shipped : fileset(local.code, pattern)])) : path => path
      # An editor's leftovers, such as .#main.py.
      if !startswith(basename(path), ".")
    }
  )

  shipped = [
    "profbucket/**/*.py",
    "profbucket/ui/**/*.{css,html,js,json,svg}",
    "storage_gcs/**/*.{json,py}",
    "storage_local/**/*.py",
  ]
}

# Made of the files' content alone: their times and modes, and the umask of who deploys, do not get into it, so that
# the same code has the same hash everywhere and a plan after an apply is empty.
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
  # Other code has another name, and with that each function is built anew.
  name   = "${var.name}-${data.archive_file.source.output_md5}.zip"
  bucket = google_storage_bucket.source.name
  source = data.archive_file.source.output_path

  lifecycle {
    create_before_destroy = true # no function points at an archive that is not there
  }
}
