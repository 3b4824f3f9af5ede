# The database that holds the index. storage_gcs/indexes.json lists the Firestore indexes, next to the code whose queries
# need them.

locals {
  schema = jsondecode(file("${local.code}/storage_gcs/indexes.json"))
}

resource "google_firestore_database" "index" {
  project     = var.project
  name        = var.name
  location_id = var.region
  type        = "FIRESTORE_NATIVE"

  # The provider's default is to abandon the database on destroy. Deleting it loses nothing that `profbucket reindex`
  # cannot restore, but a reindex takes a while: hence the protection.
  deletion_policy         = "DELETE"
  delete_protection_state = var.protected ? "DELETE_PROTECTION_ENABLED" : "DELETE_PROTECTION_DISABLED"

  depends_on = [google_project_service.api]
}

resource "google_firestore_index" "index" {
  for_each = { for index in local.schema.indexes : "${index.collection}: ${join(", ", index.fields)}" => index }

  project    = var.project
  database   = google_firestore_database.index.name
  collection = each.value.collection

  dynamic "fields" {
    for_each = each.value.fields

    content {
      field_path   = fields.value
      order        = contains(local.schema.arrays, "${each.value.collection}.${fields.value}") ? null : "ASCENDING"
      array_config = contains(local.schema.arrays, "${each.value.collection}.${fields.value}") ? "CONTAINS" : null
    }
  }
}

resource "google_firestore_field" "field" {
  for_each = { for field in local.schema.fields : "${field.collection}: ${field.field}" => field }

  project    = var.project
  database   = google_firestore_database.index.name
  collection = each.value.collection
  field      = each.value.field
  skip_wait  = true # nothing depends on a field's configuration

  # Another raw_days or block_days replaces the resource. Deleting it would turn expiry off, and make the indexes that
  # it disables: the configuration is left as it is, and the new one overwrites it.
  deletion_policy = "ABANDON"

  # An empty block disables the single-field index. No query needs one, and each makes every write slower and dearer.
  dynamic "index_config" {
    for_each = each.value.indexed ? [] : [true]

    content {}
  }

  # An entry expires with its profile or block. Firestore may take a day longer to delete it, so queries check the time, too.
  dynamic "ttl_config" {
    for_each = each.value.ttl ? [true] : []

    content {
      expiration_offset = "${(each.value.collection == "blocks" ? var.block_days : var.raw_days) * 24 * 60 * 60}s"
    }
  }
}
