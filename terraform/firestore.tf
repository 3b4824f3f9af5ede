# The index. Which indexes it needs is data beside the code whose queries need them.

locals {
  schema = jsondecode(file("${local.code}/storage_gcs/indexes.json"))
}

resource "google_firestore_database" "index" {
  project     = var.project
  name        = var.name
  location_id = var.region
  type        = "FIRESTORE_NATIVE"

  # Said outright, because the provider would otherwise leave it behind unmanaged. Nothing is lost with it that
  # `profbucket reindex` could not bring back, but that takes a while.
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
      field_path = fields.value
      order      = "ASCENDING"
    }
  }
}

resource "google_firestore_field" "field" {
  for_each = { for field in local.schema.fields : "${field.collection}: ${field.field}" => field }

  project    = var.project
  database   = google_firestore_database.index.name
  collection = each.value.collection
  field      = each.value.field

  # Empty, it is no index of this field alone: no query needs one, and each costs every write time and money.
  dynamic "index_config" {
    for_each = each.value.indexed ? [] : [true]

    content {}
  }

  # An entry goes when its profile or block does. That takes Firestore up to a day, so that queries ask for a time besides.
  dynamic "ttl_config" {
    for_each = each.value.ttl ? [true] : []

    content {
      expiration_offset = "${(each.value.collection == "blocks" ? var.block_days : var.raw_days) * 24 * 60 * 60}s"
    }
  }
}
