# Who may call the functions, and what each function may do.

locals {
  objects = "projects/_/buckets/${local.bucket}/objects/"

  # The words in functions.tf, on the bucket. Whoever may only create cannot overwrite or delete, and reads nothing.
  bucket_grants = {
    "write profiles" = {
      role = "roles/storage.objectCreator"
      # Below _/ lies what only the collector itself makes: blocks and results.
      condition = "!resource.name.startsWith(\"${local.objects}_/\")"
    }
    # With list, because without it Cloud Storage answers 403 instead of 404 for a profile that has expired.
    "read objects" = {
      role      = "roles/storage.objectViewer"
      condition = null
    }
    "write results" = {
      role      = "roles/storage.objectCreator"
      condition = "resource.name.startsWith(\"${local.objects}_/results/\")"
    }
    "write and delete blocks" = {
      role      = "roles/storage.objectUser"
      condition = "resource.name.startsWith(\"${local.objects}_/blocks/\")"
    }
  }

  # On the database. The smallest role of Google's that can create an entry can read and delete all of them.
  index_grants = {
    "write entries" = google_project_iam_custom_role.index_writer.name
    "read entries"  = "roles/datastore.viewer"
    # What goes into a block leaves the index: compact alone may remove entries.
    "keep the index" = "roles/datastore.user"
  }

  bucket_members = merge([
    for name, function in local.functions : {
      for grant in setintersection(function.may, keys(local.bucket_grants)) :
      "${name}: ${grant}" => { function = name, role = local.bucket_grants[grant].role, condition = local.bucket_grants[grant].condition }
    }
  ]...)

  index_members = merge([
    for name, function in local.functions : {
      for grant in setintersection(function.may, keys(local.index_grants)) :
      "${name}: ${grant}" => { function = name, role = local.index_grants[grant] }
    }
  ]...)

  invokers = merge([
    for name, function in local.functions : {
      for member in(local.asks_for_keys[name] ? ["allUsers"] : function.invokers) :
      "${name}: ${member}" => { function = name, member = member }
    }
  ]...)
}

resource "google_storage_bucket_iam_member" "function" {
  for_each = local.bucket_members

  bucket = google_storage_bucket.profiles.name
  role   = each.value.role
  member = google_service_account.function[each.value.function].member

  dynamic "condition" {
    for_each = each.value.condition == null ? [] : [each.value.condition]

    content {
      title      = replace(each.key, ": ", " may ")
      expression = condition.value
    }
  }
}

# A create that demands that there is no such entry needs this one permission.
resource "google_project_iam_custom_role" "index_writer" {
  project     = var.project
  role_id     = "${replace(var.name, "-", "_")}_index_writer"
  title       = "${var.name} index writer"
  description = "Add entries to the index of profiles, and read none."
  permissions = ["datastore.entities.create"]

  depends_on = [google_project_service.api]
}

resource "google_project_iam_member" "function" {
  for_each = local.index_members

  project = var.project
  role    = each.value.role
  member  = google_service_account.function[each.value.function].member

  # Roles of Firestore are granted on a project; this makes it one database.
  condition {
    title      = replace(each.key, ": ", " may ")
    expression = "resource.name == \"projects/${var.project}/databases/${google_firestore_database.index.name}\""
  }
}

# A function signs URLs as itself. Google's role for that would also let it make tokens.
resource "google_project_iam_custom_role" "url_signer" {
  project     = var.project
  role_id     = "${replace(var.name, "-", "_")}_url_signer"
  title       = "${var.name} URL signer"
  description = "Sign URLs of results that are too large for a function's answer."
  permissions = ["iam.serviceAccounts.signBlob"]

  depends_on = [google_project_service.api]
}

resource "google_service_account_iam_member" "signer" {
  for_each = { for name, function in local.functions : name => function if contains(function.may, "sign URLs") }

  service_account_id = google_service_account.function[each.key].name
  role               = google_project_iam_custom_role.url_signer.name
  member             = google_service_account.function[each.key].member
}

# Invoking is granted on the service that Cloud Run makes of a function.
resource "google_cloud_run_v2_service_iam_member" "invoker" {
  for_each = local.invokers

  project  = var.project
  location = var.region
  name     = google_cloudfunctions2_function.function[each.value.function].name
  role     = "roles/run.invoker"
  member   = each.value.member
}

# Builds run as an account of ours: the one that Google would take instead may be an editor of the whole project, or
# nothing at all, depending on the project's age.
resource "google_service_account" "build" {
  project      = var.project
  account_id   = "${var.name}-build"
  display_name = "profbucket build"
  description  = "Makes the images of the functions."

  depends_on = [google_project_service.api]
}

resource "google_project_iam_member" "build" {
  for_each = {
    "roles/logging.logWriter"       = null
    "roles/artifactregistry.writer" = null
    # The builder reads a copy of the archive in a bucket that Google makes; of profiles it reads none.
    "roles/storage.objectViewer" = "resource.name != \"projects/_/buckets/${local.bucket}\" && !resource.name.startsWith(\"${local.objects}\")"
  }

  project = var.project
  role    = each.key
  member  = google_service_account.build.member

  dynamic "condition" {
    for_each = each.value == null ? [] : [each.value]

    content {
      title      = "no profiles"
      expression = condition.value
    }
  }
}
