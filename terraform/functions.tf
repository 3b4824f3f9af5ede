# The functions: one archive, one entry point each, and only the permissions that each needs.

locals {
  # One entry per function: who may call it with access "iam", when Cloud Scheduler calls it, what it may do (access.tf
  # maps these grants to roles), the network it reaches, and its size. Concurrency above 1 needs a whole CPU.
  functions = merge({
    write = {
      description     = "Stores the profiles that programs post."
      invokers        = var.writers
      schedule        = null
      may             = ["write profiles", "write entries"]
      network         = null
      memory          = "1Gi"
      cpu             = "1"
      concurrency     = 16
      timeout_seconds = 90 # its three calls to the storage may take 70 s
      min_instances   = 0
      max_instances   = 10
    }
    query = {
      description     = "Serves the page, lists services, finds and fetches profiles."
      invokers        = var.readers
      schedule        = null
      may             = ["read objects", "read entries", "write results", "sign URLs"]
      network         = null
      memory          = "2Gi" # the page shows merges
      cpu             = "1"
      concurrency     = 8
      timeout_seconds = 120 # a comparison makes two merges
      min_instances   = 0
      max_instances   = 5
    }
    merge = {
      description     = "Merges profiles for go tool pprof."
      invokers        = var.readers
      schedule        = null
      may             = ["read objects", "read entries", "write results", "sign URLs"]
      network         = null
      memory          = "2Gi"
      cpu             = "1"
      concurrency     = 4
      timeout_seconds = 120 # pprof waits 65 s for the headers; the body may take longer
      min_instances   = 0
      max_instances   = 5
    }
    compact = {
      description     = "Merges profiles into blocks."
      invokers        = []
      schedule        = var.compact_schedule
      may             = concat(["read objects", "write and delete blocks", "read, write and delete entries"], local.writes_samples ? ["write and delete samples"] : [])
      network         = null
      memory          = local.writes_samples ? "4Gi" : "2Gi" # Parquet is written from columns of a day in memory
      cpu             = "1"
      concurrency     = 1
      timeout_seconds = 540
      min_instances   = 0
      max_instances   = 10
    }
    }, var.targets == null ? {} : {
    scrape = {
      description     = "Fetches profiles of the targets in _/targets.json."
      invokers        = []
      schedule        = "* * * * *"
      may             = ["read targets", "write profiles", "write entries"]
      network         = var.scrape_network
      memory          = "1Gi"
      cpu             = "0.5" # it mostly waits
      concurrency     = 1
      timeout_seconds = 360 # the longest timeout of a target, plus the seconds over which their starts are spread
      min_instances   = 0
      max_instances   = 1 # Cloud Scheduler never overlaps runs
    }
  })

  scheduled = { for name, function in local.functions : name => function if function.schedule != null }

  sizes = {
    for name, function in local.functions : name => {
      for field in ["memory", "cpu", "concurrency", "timeout_seconds", "min_instances", "max_instances"] :
      field => try(coalesce(var.functions[name][field], function[field]), function[field])
    }
  }

  # The other functions are protected by IAM alone: access.tf says who may call them.
  requires_key = { for name, function in local.functions : name => var.access == "public" && function.schedule == null }

  # Firestore may delete an entry up to a day after its profile has expired. With retention_days and block_days, queries
  # ignore such entries.
  storage_url = "gs://${local.bucket}?${join("&", [
    "project=${var.project}",
    "database=${google_firestore_database.index.name}",
    "retention_days=${var.raw_days}",
    "block_days=${var.block_days}",
  ])}"

  # The names of the limits, read from the code that enforces them.
  limit_names = flatten(regexall("(?m)^    ([a-z_]+): (?:int|float) = ", file("${local.code}/profbucket/limits.py")))

  environment = merge(
    {
      STORAGE_URL          = local.storage_url
      GOOGLE_CLOUD_PROJECT = var.project # log lines link to the traces of this project
      PROFBUCKET_LOG_LEVEL = var.log_level
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

  # No underscores: the function's Cloud Run service has the same name.
  name        = "${var.name}-${each.key}"
  project     = var.project
  location    = var.region
  description = each.value.description
  labels      = var.labels

  build_config {
    runtime           = "python313"
    entry_point       = each.key
    service_account   = google_service_account.build.id
    docker_repository = google_artifact_registry_repository.images.id

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
    ingress_settings                 = "ALLOW_ALL" # Cloud Scheduler calls from outside of all networks
    service_account_email            = google_service_account.function[each.key].email
    direct_vpc_egress                = each.value.network == null ? null : "VPC_EGRESS_PRIVATE_RANGES_ONLY"

    environment_variables = merge(local.environment, each.key == "compact" ? local.compact_environment : {}, local.requires_key[each.key] ? {} : { PROFBUCKET_ANONYMOUS = "1" }, {
      # By default the framework starts four threads per CPU. Requests beyond those would wait in this instance while
      # other instances are idle.
      THREADS = tostring(local.sizes[each.key].concurrency)
      # By default glibc gives threads their own heaps, each of which stays as large as its largest request.
      MALLOC_ARENA_MAX = "1"
    })

    dynamic "secret_environment_variables" {
      for_each = local.requires_key[each.key] ? google_secret_manager_secret_version.keys : []

      content {
        key        = "PROFBUCKET_KEYS"
        project_id = var.project
        secret     = google_secret_manager_secret.keys[0].secret_id
        # A number, not "latest": changed keys make a new revision, so that all instances have the same keys.
        version = secret_environment_variables.value.version
      }
    }

    dynamic "direct_vpc_network_interface" {
      for_each = each.value.network == null ? [] : [each.value.network]

      content {
        network    = direct_vpc_network_interface.value.network
        subnetwork = direct_vpc_network_interface.value.subnetwork
      }
    }
  }

  lifecycle {
    precondition {
      condition     = local.sizes[each.key].min_instances <= local.sizes[each.key].max_instances
      error_message = "min_instances of ${each.key} is greater than its max_instances."
    }
  }

  # Without its permissions a function cannot be built, and fails its first requests. Without their indexes, queries fail.
  depends_on = [
    google_cloud_tasks_queue_iam_member.compact,
    google_firestore_index.index,
    google_project_iam_member.function,
    google_secret_manager_secret_iam_member.keys,
    google_service_account_iam_member.compact_invoker,
    google_storage_bucket_iam_member.function,
    time_sleep.build,
  ]
}
