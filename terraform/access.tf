# Who may call the functions, and what each function may do.

locals {
  objects = "projects/_/buckets/${local.bucket}/objects/"

  # What the grants of functions.tf mean for the bucket. objectCreator can neither overwrite, delete nor read.
  bucket_grants = {
    "write profiles" = {
      role = "roles/storage.objectCreator"
      # The prefix _/ is reserved for objects that the collector itself makes: blocks, results and targets.
      condition = "!resource.name.startsWith(\"${local.objects}_/\")"
    }
    # Includes the permission to list: without it, Cloud Storage answers 403 instead of 404 for an expired profile.
    "read objects" = {
      role      = "roles/storage.objectViewer"
      condition = null
    }
    "read targets" = {
      role      = "roles/storage.objectViewer"
      condition = "resource.name == \"${local.objects}_/targets.json\""
    }
    "write results" = {
      role      = "roles/storage.objectCreator"
      condition = "resource.name.startsWith(\"${local.objects}_/results/\")"
    }
    "write and delete blocks" = {
      role      = "roles/storage.objectUser"
      condition = "resource.name.startsWith(\"${local.objects}_/blocks/\")"
    }
    "write and delete samples" = {
      role      = "roles/storage.objectUser"
      condition = "resource.name.startsWith(\"${local.objects}_/samples/\")"
    }
  }

  # What they mean for the database.
  index_grants = {
    "write entries" = google_project_iam_custom_role.index_writer.name
    "read entries"  = "roles/datastore.viewer"
    # Compaction removes the entries of profiles that it puts into blocks. No other function may remove entries.
    "read, write and delete entries" = "roles/datastore.user"
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

  # The names of the functions' Cloud Run services. They are unknown while a function is replaced, which deletes the
  # grants on its service, so that these are made again.
  services = { for name, function in google_cloudfunctions2_function.function : name => basename(function.service_config[0].service) }

  invokers = merge([
    for name, function in local.functions : {
      for member in(local.requires_key[name] ? ["allUsers"] : function.invokers) :
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

# Google's smallest role that can create an entry can also read and delete all of them. Creating an entry with the
# precondition that it does not exist needs only this permission.
resource "google_project_iam_custom_role" "index_writer" {
  project     = var.project
  role_id     = "${replace(var.name, "-", "_")}_index_writer"
  title       = "${var.name} index writer"
  description = "Add entries to the index of profiles, without reading any."
  permissions = ["datastore.entities.create"]

  depends_on = [google_project_service.api]
}

resource "google_project_iam_member" "function" {
  for_each = local.index_members

  project = var.project
  role    = each.value.role
  member  = google_service_account.function[each.value.function].member

  # Firestore roles can only be granted on a project; the condition restricts them to one database.
  condition {
    title      = replace(each.key, ": ", " may ")
    expression = "resource.name == \"projects/${var.project}/databases/${google_firestore_database.index.name}\""
  }
}

# A function signs URLs with its own account. Google's predefined role would also allow it to create access tokens.
resource "google_project_iam_custom_role" "url_signer" {
  project     = var.project
  role_id     = "${replace(var.name, "-", "_")}_url_signer"
  title       = "${var.name} URL signer"
  description = "Sign URLs of results that are too large for a function's response."
  permissions = ["iam.serviceAccounts.signBlob"]

  depends_on = [google_project_service.api]
}

resource "google_service_account_iam_member" "signer" {
  for_each = { for name, function in local.functions : name => function if contains(function.may, "sign URLs") }

  service_account_id = google_service_account.function[each.key].name
  role               = google_project_iam_custom_role.url_signer.name
  member             = google_service_account.function[each.key].member
}

# The permission to call a function is granted on its Cloud Run service.
resource "google_cloud_run_v2_service_iam_member" "invoker" {
  for_each = local.invokers

  project  = var.project
  location = var.region
  name     = local.services[each.value.function]
  role     = "roles/run.invoker"
  member   = each.value.member
}

# A dedicated account for builds. Depending on the project's age, Google's default account is either an editor of the
# whole project or lacks the permissions to build.
resource "google_service_account" "build" {
  project      = var.project
  account_id   = "${var.name}-build"
  display_name = "profbucket build"
  description  = "Builds the images of the functions."

  depends_on = [google_project_service.api]
}

resource "google_project_iam_member" "build" {
  for_each = {
    "roles/logging.logWriter" = null
    # The builder reads a copy of the archive from a bucket that Google makes, and no other bucket of the project.
    "roles/storage.objectViewer" = "resource.name.startsWith(\"projects/_/buckets/gcf-v2-sources-${data.google_project.project.number}-${var.region}\")"
  }

  project = var.project
  role    = each.key
  member  = google_service_account.build.member

  dynamic "condition" {
    for_each = each.value == null ? [] : [each.value]

    content {
      title      = "sources of functions"
      expression = condition.value
    }
  }
}

# The images of the functions. Without a repository of its own, the builder could write to all of the project.
resource "google_artifact_registry_repository" "images" {
  project       = var.project
  location      = var.region
  repository_id = var.name
  format        = "DOCKER"
  description   = "Images of the functions, which Cloud Build makes."
  labels        = var.labels

  # Images of old revisions are needed to go back to them.
  cleanup_policies {
    id     = "keep-recent"
    action = "KEEP"

    most_recent_versions {
      keep_count = 3
    }
  }
  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"

    condition {
      older_than = "2592000s"
    }
  }

  depends_on = [google_project_service.api]
}

resource "google_artifact_registry_repository_iam_member" "build" {
  project    = var.project
  location   = var.region
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.build.member
}

# A grant takes a while to reach all of Google's services. A build that starts before fails, and with it the apply.
resource "time_sleep" "build" {
  create_duration = "90s"

  triggers = {
    account    = google_service_account.build.unique_id
    repository = google_artifact_registry_repository_iam_member.build.id
    roles      = join(" ", sort(keys(google_project_iam_member.build)))
  }
}
