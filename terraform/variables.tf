variable "project" {
  description = "The id of the Google Cloud project to deploy to."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project = \"${var.project}\" is not a project id; use what `gcloud config get project` prints, not the number or the display name."
  }
}

variable "region" {
  description = "The region of the functions, the buckets and the database."
  type        = string
  default     = "us-central1"

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region = \"${var.region}\" is not a single region; use one such as us-central1 or europe-west4."
  }
}

variable "name" {
  description = "Prefix of the names of all resources. Give each collector in a project its own."
  type        = string
  default     = "profbucket"

  validation {
    # The database needs at least 4 characters. A service account has at most 30, of which -scheduler takes 10.
    condition     = can(regex("^[a-z][a-z0-9-]{2,18}[a-z0-9]$", var.name))
    error_message = "name = \"${var.name}\" is invalid; use 4 to 20 lowercase letters, digits and dashes, starting with a letter and not ending with a dash."
  }
}

variable "bucket" {
  description = "Name of the bucket of profiles; the default is PROJECT-NAME. Bucket names are globally unique."
  type        = string
  default     = null

  validation {
    condition     = var.bucket == null || can(regex("^[a-z0-9][a-z0-9_-]{1,54}[a-z0-9]$", var.bucket))
    error_message = "bucket is invalid; use 3 to 56 lowercase letters, digits, dashes and underscores, starting and ending with a letter or digit."
  }
}

variable "raw_days" {
  description = "Days to keep each profile as it was posted. Its data remains in a block for block_days."
  type        = number
  default     = 14

  validation {
    condition     = var.raw_days >= 1 && floor(var.raw_days) == var.raw_days
    error_message = "raw_days = ${var.raw_days} is invalid; use a whole number of days, at least 1."
  }
}

variable "block_days" {
  description = "Days to keep blocks, which hold the merged profiles of an hour or a day."
  type        = number
  default     = 400

  validation {
    condition     = var.block_days >= var.raw_days && floor(var.block_days) == var.block_days
    error_message = "block_days = ${var.block_days} is invalid; use a whole number of days, at least raw_days, because blocks replace expired profiles."
  }
}

variable "samples_days" {
  description = "Days to keep samples as Parquet files in the bucket, for SQL; docs/sql.md describes them. With null, none are written."
  type        = number
  default     = null

  validation {
    condition     = var.samples_days == null ? true : var.samples_days >= 1 && floor(var.samples_days) == var.samples_days
    error_message = "samples_days is invalid; use a whole number of days, at least 1, or null."
  }
}

variable "sql" {
  description = "If true, make a dataset of BigQuery with the samples, which readers may query. Requires samples_days."
  type        = bool
  default     = false
  nullable    = false

  validation {
    condition     = !var.sql || var.samples_days != null
    error_message = "sql = true without samples_days would make tables without samples; set samples_days, such as 400."
  }
}

variable "compact_schedule" {
  description = "When to compact, as a cron expression in UTC. The default is once an hour. Start at least 10 minutes past the hour: earlier, the last hour is not yet complete. An alert expects a run every six hours."
  type        = string
  default     = "15 * * * *"

  validation {
    condition     = can(regex("^[0-9*/,-]+( [0-9A-Za-z*/,-]+){4}$", var.compact_schedule))
    error_message = "compact_schedule = \"${var.compact_schedule}\" is not a cron expression of five fields, such as \"15 * * * *\"."
  }
}

variable "protected" {
  description = "If true, `terraform destroy` refuses to delete the database, and the bucket while it holds objects."
  type        = bool
  default     = true
}

variable "keys" {
  description = <<-EOT
    API keys, for access = "public". `profbucket key create` makes a key and prints its entry. Each key has a name, the
    SHA-256 of the secret, scopes (write, read, admin) and, unless it is valid for all services, patterns of service
    names (shop-*). To rotate a key, add a second one for the same purpose before you remove the first.
  EOT
  type = list(object({
    name     = string
    sha256   = string
    scopes   = list(string)
    services = optional(list(string))
  }))
  default  = []
  nullable = false

  validation {
    condition     = alltrue([for key in var.keys : can(regex("^[0-9a-f]{64}$", key.sha256))])
    error_message = "The sha256 of a key must be 64 hex digits, as printed by `profbucket key hash`. Never put the key itself here."
  }
  validation {
    condition     = alltrue([for key in var.keys : length(key.scopes) > 0 && length(setsubtract(key.scopes, ["write", "read", "admin"])) == 0])
    error_message = "The scopes of a key must be one or more of write, read and admin."
  }
  validation {
    condition     = alltrue([for key in var.keys : key.services == null ? true : length(key.services) > 0 && !contains(key.services, "")])
    error_message = "The services of a key must be a list of patterns such as shop-*; leave services out for all services."
  }
  validation {
    condition     = alltrue([for key in var.keys : trimspace(key.name) != ""]) && length(distinct(var.keys[*].name)) == length(var.keys)
    error_message = "Each key needs a unique name: logs and error messages refer to it."
  }
}

variable "access" {
  description = "Who may call the functions. \"public\": anyone who has an API key. \"iam\": the writers and readers, authenticated by Google."
  type        = string
  default     = "iam"

  validation {
    condition     = contains(["public", "iam"], var.access)
    error_message = "access = \"${var.access}\" is invalid; use \"public\" or \"iam\"."
  }
  validation {
    condition     = var.access != "public" || length(var.keys) > 0
    error_message = "access = \"public\" without keys would admit anyone; add keys (`profbucket key create`) or use \"iam\"."
  }
  validation {
    condition     = var.access != "iam" || length(var.keys) == 0
    error_message = "keys require access = \"public\"; with \"iam\" the Authorization header holds Google's token, not a key."
  }
}

variable "writers" {
  description = "Who may post profiles with access = \"iam\", such as [\"serviceAccount:shop@my-project.iam.gserviceaccount.com\"]."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for member in var.writers : can(regex("^(user|group|serviceAccount|domain):[^:]+$|^principal(Set)?://.+", member))])
    error_message = "writers must be IAM members such as user:ann@example.com or serviceAccount:…; to admit anyone who has a key, use access = \"public\"."
  }
}

variable "readers" {
  description = "Who may find, fetch and merge profiles with access = \"iam\", and query the dataset with sql = true, such as [\"group:developers@example.com\"]."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for member in var.readers : can(regex("^(user|group|serviceAccount|domain):[^:]+$|^principal(Set)?://.+", member))])
    error_message = "readers must be IAM members such as user:ann@example.com or group:…; to admit anyone who has a key, use access = \"public\"."
  }
}

variable "functions" {
  description = <<-EOT
    Sizes that differ from the defaults in functions.tf, by function:
    { merge = { memory = "4Gi", cpu = "2", min_instances = 1 } }. concurrency is the number of requests that an instance
    serves at once; max_instances bounds the cost.
  EOT
  type = map(object({
    memory          = optional(string)
    cpu             = optional(string)
    concurrency     = optional(number)
    timeout_seconds = optional(number)
    min_instances   = optional(number)
    max_instances   = optional(number)
  }))
  default  = {}
  nullable = false

  validation {
    condition     = length(setsubtract(keys(var.functions), ["write", "query", "merge"])) == 0
    error_message = "unknown function ${join(", ", setsubtract(keys(var.functions), ["write", "query", "merge"]))}; sizes can be set for write, query and merge."
  }
  validation {
    condition     = alltrue([for f in var.functions : f.memory == null ? true : can(regex("^[1-9][0-9]*(Mi|Gi)$", f.memory))])
    error_message = "memory must be a number of Mi or Gi, such as \"512Mi\" or \"2Gi\"."
  }
  validation {
    condition     = alltrue([for f in var.functions : f.cpu == null ? true : contains(["1", "2", "4", "6", "8"], f.cpu)])
    error_message = "cpu must be \"1\", \"2\", \"4\", \"6\" or \"8\"; with less than one CPU an instance serves a single request at a time."
  }
  validation {
    condition     = alltrue([for f in var.functions : f.concurrency == null ? true : f.concurrency >= 1 && f.concurrency <= 250 && floor(f.concurrency) == f.concurrency])
    error_message = "concurrency must be a whole number from 1 to 250; each request has a thread."
  }
  validation {
    condition     = alltrue([for f in var.functions : f.timeout_seconds == null ? true : f.timeout_seconds >= 10 && f.timeout_seconds <= 3600 && floor(f.timeout_seconds) == f.timeout_seconds])
    error_message = "timeout_seconds must be a whole number from 10 to 3600."
  }
  validation {
    condition = alltrue([
      for f in var.functions : alltrue([for n in [f.min_instances, f.max_instances] : n == null ? true : n >= 0 && floor(n) == n])
      && (f.max_instances == null ? true : f.max_instances >= 1)
    ])
    error_message = "min_instances must be a whole number, at least 0; max_instances must be a whole number, at least 1."
  }
}

variable "targets" {
  description = <<-EOT
    Programs to scrape once a minute, such as [{ url = "http://10.0.0.5:6060", service = "api" }];
    docs/operations.md lists the fields. terraform stores the list as the object _/targets.json in the bucket. With [],
    you maintain that object yourself. With null, nothing is scraped. Headers are stored in plain text, in terraform's
    state and in the object.
  EOT
  type = list(object({
    url             = string
    service         = string
    labels          = optional(map(string))
    profiles        = optional(list(string))
    seconds         = optional(number)
    timeout_seconds = optional(number)
    headers         = optional(map(string))
    allow           = optional(list(string))
  }))
  default = null

  validation {
    condition     = alltrue([for target in coalesce(var.targets, []) : can(regex("^https?://[^/?#]+(/[^?#]*)?$", target.url))])
    error_message = "The url of a target must be such as http://10.0.0.5:6060, optionally with a path that replaces /debug/pprof."
  }
  validation {
    condition     = alltrue([for target in coalesce(var.targets, []) : target.service != ""])
    error_message = "The service of a target must not be empty."
  }
}

variable "scrape_network" {
  description = "Network and subnetwork for targets without public addresses: { network = \"default\", subnetwork = \"default\" }."
  type        = object({ network = string, subnetwork = string })
  default     = null
}

variable "limits" {
  description = "Limits that differ from the defaults in profbucket/limits.py, by name: { merge = 20000 } sets PROFBUCKET_MAX_MERGE."
  type        = map(number)
  default     = {}
  nullable    = false

  validation {
    condition     = length(setsubtract(keys(var.limits), local.limit_names)) == 0
    error_message = "unknown limit ${join(", ", setsubtract(keys(var.limits), local.limit_names))}; known limits: ${join(", ", local.limit_names)}."
  }
  validation {
    condition     = alltrue([for value in values(var.limits) : value >= 1 && floor(value) == value])
    error_message = "A limit must be a whole number, at least 1."
  }
}

variable "log_level" {
  description = "Lowest level that is logged: debug, info, warning or error. Posts that are stored are logged at debug."
  type        = string
  default     = "info"

  validation {
    condition     = contains(["debug", "info", "warning", "error"], var.log_level)
    error_message = "log_level = \"${var.log_level}\" is invalid; use debug, info, warning or error."
  }
}

variable "notification_channels" {
  description = "Where alerts on compaction and writes are sent: names of channels of Cloud Monitoring, such as [\"projects/my-project/notificationChannels/123\"], which `gcloud beta monitoring channels list` prints. Without any, alerts are only shown in the console."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for channel in var.notification_channels : can(regex("^projects/[^/]+/notificationChannels/[0-9]+$", channel))])
    error_message = "notification_channels must be names such as projects/my-project/notificationChannels/123, not display names or addresses."
  }
}

variable "commit" {
  description = "The version that /api/0/version reports, such as the output of `git rev-parse HEAD`; the default is the hash of the archive."
  type        = string
  default     = null
}

variable "labels" {
  description = "Labels of the buckets, the functions and the secret, for example for billing reports."
  type        = map(string)
  default     = {}
  nullable    = false
}
