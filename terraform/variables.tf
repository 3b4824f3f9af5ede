variable "project" {
  description = "The Google Cloud project that everything is put into."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project is the project's id, as in `gcloud config get project`: not its number, and not its name."
  }
}

variable "region" {
  description = "Where the functions, the bucket and the database are."
  type        = string
  default     = "us-central1"

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region is one region, such as us-central1 or europe-west4: the functions run in one."
  }
}

variable "name" {
  description = "What the names of all that is made begin with. Two collectors in one project have two names."
  type        = string
  default     = "profbucket"

  validation {
    # At least 4 for the database, and room for -query in the 30 of a service account.
    condition     = can(regex("^[a-z][a-z0-9-]{2,18}[a-z0-9]$", var.name))
    error_message = "name has 4 to 20 small letters, digits and dashes, begins with a letter and does not end in a dash."
  }
}

variable "bucket" {
  description = "The name of the bucket for the profiles, if not PROJECT-NAME. All buckets of the world share one set of names."
  type        = string
  default     = null

  validation {
    condition     = var.bucket == null || can(regex("^[a-z0-9][a-z0-9_-]{1,54}[a-z0-9]$", var.bucket))
    error_message = "bucket has 3 to 56 small letters, digits, dashes and underscores, and begins and ends with a letter or digit."
  }
}

variable "raw_days" {
  description = "How many days the profiles are kept, as they were posted; what they measured is kept in blocks."
  type        = number
  default     = 14

  validation {
    condition     = var.raw_days >= 1 && floor(var.raw_days) == var.raw_days
    error_message = "raw_days is a whole number of days, from 1."
  }
}

variable "block_days" {
  description = "How many days the blocks are kept: the profiles of an hour or a day, merged into one."
  type        = number
  default     = 400

  validation {
    condition     = var.block_days >= var.raw_days && floor(var.block_days) == var.block_days
    error_message = "block_days is a whole number of days, not less than raw_days: a block takes the place of profiles that are gone."
  }
}

variable "compact_schedule" {
  description = "When blocks are made, as cron writes it, in UTC: once an hour, ten minutes or more after it began."
  type        = string
  default     = "15 * * * *"

  validation {
    condition     = can(regex("^[0-9*/,-]+( [0-9A-Za-z*/,-]+){4}$", var.compact_schedule))
    error_message = "compact_schedule has five fields, as in \"15 * * * *\"."
  }
}

variable "protected" {
  description = "Whether `terraform destroy` leaves the profiles: it refuses to delete a bucket with objects in it, and the database."
  type        = bool
  default     = true
}

variable "keys" {
  description = <<-EOT
    Who may do what: the keys that `profbucket key create` makes, without their secrets. A key has a name, the SHA-256
    of its secret, scopes (write, read, admin) and, if it is not for all services, patterns of theirs (shop-*). Several
    for one purpose are how one takes the place of another. They are for access "public".
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
    error_message = "A key's sha256 is 64 hex digits, as `profbucket key hash` writes them: never the key itself."
  }
  validation {
    condition     = alltrue([for key in var.keys : length(key.scopes) > 0 && length(setsubtract(key.scopes, ["write", "read", "admin"])) == 0])
    error_message = "A key's scopes are some of write, read and admin."
  }
  validation {
    condition     = alltrue([for key in var.keys : key.services == null ? true : length(key.services) > 0 && !contains(key.services, "")])
    error_message = "A key's services are patterns such as shop-*; without services it is for all."
  }
  validation {
    condition     = alltrue([for key in var.keys : trimspace(key.name) != ""]) && length(distinct(var.keys[*].name)) == length(var.keys)
    error_message = "Each key has a name of its own: logs and answers call it so."
  }
}

variable "access" {
  description = "Who is let through to the functions. \"public\": anyone, and a key decides. \"iam\": writers and readers, whom Google identifies."
  type        = string
  default     = "iam"

  validation {
    condition     = contains(["public", "iam"], var.access)
    error_message = "access is \"public\" or \"iam\"."
  }
  validation {
    condition     = var.access != "public" || length(var.keys) > 0
    error_message = "access = \"public\" without keys would let anyone in: add keys (`profbucket key create`), or set access to \"iam\"."
  }
  validation {
    condition     = var.access != "iam" || length(var.keys) == 0
    error_message = "keys are for access = \"public\": an agent has one Authorization header, and with \"iam\" Google's token is in it."
  }
}

variable "writers" {
  description = "With access \"iam\": who may post profiles, as in [\"serviceAccount:shop@my-project.iam.gserviceaccount.com\"]."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for member in var.writers : can(regex("^(user|group|serviceAccount|domain):[^:]+$|^principal(Set)?://.+", member))])
    error_message = "writers are IAM members such as user:ann@example.com or serviceAccount:…; for anyone who has a key, access is \"public\"."
  }
}

variable "readers" {
  description = "With access \"iam\": who may find, fetch and merge profiles, as in [\"group:developers@example.com\"]."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for member in var.readers : can(regex("^(user|group|serviceAccount|domain):[^:]+$|^principal(Set)?://.+", member))])
    error_message = "readers are IAM members such as user:ann@example.com or group:…; for anyone who has a key, access is \"public\"."
  }
}

variable "functions" {
  description = <<-EOT
    What of a function's size is not as functions.tf has it, by its name:
    { merge = { memory = "4Gi", cpu = "2", min_instances = 1 } }. An instance answers as many requests at once as its
    concurrency; max_instances bounds what a day can cost.
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
    error_message = "functions has sizes of write, query and merge: there are no others."
  }
  validation {
    condition     = alltrue([for f in var.functions : f.memory == null ? true : can(regex("^[1-9][0-9]*(Mi|Gi)$", f.memory))])
    error_message = "memory is a number of Mi or Gi: \"512Mi\", \"2Gi\"."
  }
  validation {
    condition     = alltrue([for f in var.functions : f.cpu == null ? true : contains(["1", "2", "4", "6", "8"], f.cpu)])
    error_message = "cpu is \"1\", \"2\", \"4\", \"6\" or \"8\": less than one answers a single request at a time."
  }
  validation {
    condition     = alltrue([for f in var.functions : f.concurrency == null ? true : f.concurrency >= 1 && f.concurrency <= 250 && floor(f.concurrency) == f.concurrency])
    error_message = "concurrency is a whole number from 1 to 250: each request has a thread."
  }
  validation {
    condition     = alltrue([for f in var.functions : f.timeout_seconds == null ? true : f.timeout_seconds >= 10 && f.timeout_seconds <= 3600 && floor(f.timeout_seconds) == f.timeout_seconds])
    error_message = "timeout_seconds is a whole number from 10 to 3600."
  }
  validation {
    condition = alltrue([
      for f in var.functions : alltrue([for n in [f.min_instances, f.max_instances] : n == null ? true : n >= 0 && floor(n) == n])
      && (f.max_instances == null ? true : f.max_instances >= 1)
    ])
    error_message = "min_instances is a whole number from 0, max_instances one from 1."
  }
}

variable "limits" {
  description = "Caps that are not as profbucket/limits.py has them, by their name there: { merge = 20000 } sets PROFBUCKET_MAX_MERGE."
  type        = map(number)
  default     = {}
  nullable    = false

  validation {
    condition     = length(setsubtract(keys(var.limits), local.limit_names)) == 0
    error_message = "There is no such limit: there are ${join(", ", local.limit_names)}."
  }
  validation {
    condition     = alltrue([for value in values(var.limits) : value >= 1 && floor(value) == value])
    error_message = "A limit is a whole number, from 1."
  }
}

variable "commit" {
  description = "What /api/0/version calls the deployed code, as in `git rev-parse HEAD`; without it, the archive's hash."
  type        = string
  default     = null
}

variable "labels" {
  description = "Labels of the bucket, the functions and the secret: for the bill."
  type        = map(string)
  default     = {}
  nullable    = false
}
