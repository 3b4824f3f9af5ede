# The functions: one archive, an entry point each, and no more of the project than each needs.

locals {
  # A function is one entry here: its job, whom it is for, what it may do (access.tf says what the words grant), and
  # its size. Concurrency above 1 needs a whole CPU.
  functions = {
    write = {
      description     = "Takes profiles in."
      invokers        = var.writers
      may             = ["write profiles", "write entries"]
      memory          = "1Gi"
      cpu             = "1"
      concurrency     = 16
      timeout_seconds = 60
      min_instances   = 0
      max_instances   = 10
    }
    query = {
      description     = "Serves the page, lists services, finds and fetches profiles."
      invokers        = var.readers
      may             = ["read objects", "read entries", "write results", "sign URLs"]
      memory          = "2Gi" # its page shows merges
      cpu             = "1"
      concurrency     = 8
      timeout_seconds = 120 # two of them, in a comparison
      min_instances   = 0
      max_instances   = 5
    }
    merge = {
      description     = "Merges profiles: what go tool pprof is pointed at."
      invokers        = var.readers
      may             = ["read objects", "read entries", "write results", "sign URLs"]
      memory          = "2Gi"
      cpu             = "1"
      concurrency     = 4
      timeout_seconds = 120 # pprof waits 65 s for the headers; what follows may take longer
      min_instances   = 0
      max_instances   = 5
    }
    compact = {
      description     = "Makes blocks of profiles."
      invokers        = [] # but the scheduler: see scheduler.tf
      may             = ["read objects", "write and delete blocks", "keep the index"]
      memory          = "2Gi"
      cpu             = "1"
      concurrency     = 1
      timeout_seconds = 540
      min_instances   = 0
      max_instances   = 2
    }
  }

  # Those that a scheduler calls, and nobody else: Google says who it is, they ask for no key.
  scheduled = { compact = var.compact_schedule }

  sizes = {
    for name, function in local.functions : name => {
      for field in ["memory", "cpu", "concurrency", "timeout_seconds", "min_instances", "max_instances"] :
      field => try(coalesce(var.functions[name][field], function[field]), function[field])
    }
  }

  # Elsewhere Google lets only those through whom access.tf names, and the collector need not ask again.
  asks_for_keys = { for name, function in local.functions : name => var.access == "public" && !contains(keys(local.scheduled), name) }

  # With retention_days and block_days because entries go up to a day later than profiles: until then they are not found.
  storage_url = "gs://${local.bucket}?${join("&", [
    "project=${var.project}",
    "database=${google_firestore_database.index.name}",
    "retention_days=${var.raw_days}",
    "block_days=${var.block_days}",
  ])}"

  # The names of the caps, from the code that enforces them.
  limit_names = flatten(regexall("(?m)^    ([a-z_]+): (?:int|float) = ", file("${local.code}/profbucket/limits.py")))

  environment = merge(
    {
      STORAGE_URL          = local.storage_url
      GOOGLE_CLOUD_PROJECT = var.project # whose traces log lines belong to
      PROFBUCKET_COMMIT    = coalesce(var.commit, substr(data.archive_file.source.output_md5, 0, 12))
    },
    { for name, value in var.limits : "PROFBUCKET_MAX_${upper(name)}" => format("%d", value) },
  )
}

resource "google_service_account" "function" {
  for_each = local.functions

  project      = var.project
  account_id   = "${var.name}-${each.key}"
  display_name = "profbucket ${each.key}"
  description  = each.value.description

  depends_on = [google_project_service.api]
}

resource "google_cloudfunctions2_function" "function" {
  for_each = local.functions

  # With dashes only: the service that Cloud Run makes of it has the same name.
  name        = "${var.name}-${each.key}"
  project     = var.project
  location    = var.region
  description = each.value.description
  labels      = var.labels

  build_config {
    runtime         = "python313"
    entry_point     = each.key
    service_account = google_service_account.build.id

    source {
      storage_source {
        bucket = google_storage_bucket_object.source.bucket
        object = google_storage_bucket_object.source.name
      }
    }
  }

  service_config {
    available_memory                 = local.sizes[each.key].memory
    available_cpu                    = local.sizes[each.key].cpu
    max_instance_request_concurrency = local.sizes[each.key].concurrency
    timeout_seconds                  = local.sizes[each.key].timeout_seconds
    min_instance_count               = local.sizes[each.key].min_instances
    max_instance_count               = local.sizes[each.key].max_instances
    ingress_settings                 = "ALLOW_ALL"
    service_account_email            = google_service_account.function[each.key].email

    environment_variables = merge(local.environment, local.asks_for_keys[each.key] ? {} : { PROFBUCKET_ANONYMOUS = "1" }, {
      # The framework starts four threads a CPU. The requests that an instance is given beyond those would wait in it,
      # while others stand idle.
      THREADS = tostring(local.sizes[each.key].concurrency)
      # glibc keeps a heap for each thread, and of each what its largest request needed.
      MALLOC_ARENA_MAX = "1"
    })

    dynamic "secret_environment_variables" {
      for_each = local.asks_for_keys[each.key] ? google_secret_manager_secret_version.keys : []

      content {
        key        = "PROFBUCKET_KEYS"
        project_id = var.project
        secret     = google_secret_manager_secret.keys[0].secret_id
        # The number, not "latest": new keys are a new revision, so that all instances have the same.
        version = secret_environment_variables.value.version
      }
    }
  }

  lifecycle {
    precondition {
      condition     = local.sizes[each.key].min_instances <= local.sizes[each.key].max_instances
      error_message = "min_instances of ${each.key} is more than its max_instances."
    }
  }

  # A function that starts before its rights are there fails its first requests, and its build; new queries fail
  # before their indexes are built.
  depends_on = [
    google_firestore_index.index,
    google_project_iam_member.build,
    google_project_iam_member.function,
    google_secret_manager_secret_iam_member.keys,
    google_storage_bucket_iam_member.function,
  ]
}
