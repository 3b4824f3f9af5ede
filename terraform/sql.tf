# Samples in SQL: a dataset of BigQuery whose tables are the Parquet files that compaction writes. docs/sql.md describes
# their columns. Nothing is copied: deleting the dataset deletes no data.

locals {
  writes_samples = var.samples_days != null

  # Compaction writes them, see SAMPLES in profbucket/model/ids.py.
  samples = "gs://${local.bucket}/_/samples/v1"
  dataset = replace(var.name, "-", "_")

  # Their queries are in terraform/sql. That of functions contains that of samples instead of reading the view, which may
  # not exist yet when this one is made.
  samples_query = templatefile("${path.module}/sql/samples.sql", { dataset = "${var.project}.${local.dataset}" })
  views = {
    samples   = "A row for each distinct stack of a service, profile type, set of labels and day."
    functions = "A row for each function of each row of samples: what it used itself, and with all that it called."
    services  = "A row for each service and profile type: since when it has samples, and of what."
  }
}

resource "google_bigquery_dataset" "profiles" {
  count = var.sql ? 1 : 0

  project       = var.project
  dataset_id    = local.dataset
  friendly_name = "profbucket"
  description   = "The samples of all profiles."
  location      = var.region # that of the bucket
  labels        = var.labels

  # Tables that were made by hand.
  delete_contents_on_destroy = !var.protected

  depends_on = [google_project_service.api]
}

# BigQuery reads the files with an account of its own, so that readers need no access to the bucket, which also holds
# the headers of targets.
resource "google_bigquery_connection" "samples" {
  count = var.sql ? 1 : 0

  project       = var.project
  location      = var.region
  connection_id = "${var.name}-samples"
  description   = "Reads the samples in the bucket ${local.bucket}."

  cloud_resource {}

  depends_on = [google_project_service.api]
}

resource "google_storage_bucket_iam_member" "samples" {
  count = var.sql ? 1 : 0

  bucket = google_storage_bucket.profiles.name
  role   = "roles/storage.objectViewer"
  member = "serviceAccount:${google_bigquery_connection.samples[0].cloud_resource[0].service_account_id}"

  # Listing is a permission on the bucket, and cannot be restricted to a prefix of objects.
  condition {
    title      = "BigQuery may read samples"
    expression = "resource.type != \"storage.googleapis.com/Object\" || resource.name.startsWith(\"${local.objects}_/samples/\")"
  }
}

# A grant takes a while to reach all of Google's services. A table that is made before cannot be read.
resource "time_sleep" "samples" {
  count = var.sql ? 1 : 0

  create_duration = "90s"

  triggers = {
    grant = google_storage_bucket_iam_member.samples[0].id
  }
}

# A file without rows: without any file there is no schema, and queries fail.
resource "google_storage_bucket_object" "empty_samples" {
  count = var.sql ? 1 : 0

  name   = "_/samples/v1/date=1970-01-01/service=none/type=other/samples.parquet"
  bucket = google_storage_bucket.profiles.name
  source = "${path.module}/sql/empty.parquet"
}

resource "google_bigquery_table" "files" {
  count = var.sql ? 1 : 0

  project             = var.project
  dataset_id          = google_bigquery_dataset.profiles[0].dataset_id
  table_id            = "files"
  description         = "The Parquet files in ${local.samples}. Use the view samples instead."
  labels              = var.labels
  deletion_protection = false # it holds no data

  external_data_configuration {
    source_format = "PARQUET"
    source_uris   = ["${local.samples}/*"]
    connection_id = google_bigquery_connection.samples[0].name

    # The schema is that of the file without rows, whatever other files there are.
    autodetect                = true
    reference_file_schema_uri = "gs://${local.bucket}/${google_storage_bucket_object.empty_samples[0].name}"

    hive_partitioning_options {
      mode = "CUSTOM" # with AUTO, a service that is called 2026 would be a number
      # Escaped as in profbucket/model/ids.py.
      source_uri_prefix = "${local.samples}/{date:DATE}/{service:STRING}/{type:STRING}"
    }

    # A list is an array of its elements, not of structures with a list of structures.
    parquet_options {
      enable_list_inference = true
    }
  }

  depends_on = [time_sleep.samples]
}

resource "google_bigquery_table" "view" {
  for_each = var.sql ? local.views : {}

  project             = var.project
  dataset_id          = google_bigquery_table.files[0].dataset_id
  table_id            = each.key
  description         = each.value
  labels              = var.labels
  deletion_protection = false

  view {
    query          = templatefile("${path.module}/sql/${each.key}.sql", { dataset = "${var.project}.${local.dataset}", samples = local.samples_query })
    use_legacy_sql = false
  }
}

resource "google_bigquery_dataset_iam_member" "reader" {
  for_each = var.sql ? var.readers : []

  project    = var.project
  dataset_id = google_bigquery_dataset.profiles[0].dataset_id
  role       = "roles/bigquery.dataViewer"
  member     = each.value
}
