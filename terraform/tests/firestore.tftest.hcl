mock_provider "google" {}
mock_provider "time" {}
mock_provider "archive" {}

variables {
  project = "my-project"
}

run "the_indexes_match_the_code" {
  command = plan

  assert {
    condition = toset([for index in google_firestore_index.index : { collection = index.collection, fields = index.fields[*].field_path }]) == toset([
      for index in jsondecode(file("../storage_gcs/indexes.json")).indexes : { collection = index.collection, fields = tolist(index.fields) }
    ])
    error_message = "The indexes differ from those in storage_gcs/indexes.json."
  }
  assert {
    condition = alltrue(flatten([
      for index in google_firestore_index.index : [
        for field in index.fields : contains(jsondecode(file("../storage_gcs/indexes.json")).arrays, "${index.collection}.${field.field_path}") ? field.array_config == "CONTAINS" : field.order == "ASCENDING"
      ]
    ]))
    error_message = "An index is not in ascending order, as find needs, or of the elements of an array."
  }
  assert {
    condition = alltrue([
      for resource in concat(values(google_firestore_index.index), values(google_firestore_field.field)) : resource.database == google_firestore_database.index.name
    ])
    error_message = "An index is in another database."
  }
}

run "fields_have_no_index_that_no_query_needs" {
  command = plan

  assert {
    condition = {
      for name, field in google_firestore_field.field : name => length(field.index_config) == 1 ? length(coalesce(field.index_config[0].indexes, [])) : null
      } == {
      for field in jsondecode(file("../storage_gcs/indexes.json")).fields : "${field.collection}: ${field.field}" => field.indexed ? null : 0
    }
    error_message = "The single-field indexes differ from those in storage_gcs/indexes.json."
  }
}

run "entries_expire_with_their_profiles_and_blocks" {
  command = plan

  variables {
    raw_days   = 7
    block_days = 90
  }

  assert {
    condition = {
      for field in google_firestore_field.field : "${field.collection}.${field.field}" => field.ttl_config[0].expiration_offset if length(field.ttl_config) > 0
    } == { for field in jsondecode(file("../storage_gcs/indexes.json")).fields : "${field.collection}.${field.field}" => field.collection == "blocks" ? "7776000s" : "604800s" if field.ttl }
    error_message = "Entries do not expire together with their objects."
  }
}

run "the_index_has_its_own_database" {
  command = plan

  assert {
    condition     = google_firestore_database.index.name == "profbucket" && google_firestore_database.index.type == "FIRESTORE_NATIVE"
    error_message = "The index is not in a Firestore database of its own."
  }
}

run "another_retention_leaves_expiry_on" {
  command = plan

  assert {
    condition     = alltrue([for field in google_firestore_field.field : field.deletion_policy == "ABANDON" && field.skip_wait])
    error_message = "Replacing a field turns expiry off, or makes the index that it disables."
  }
}
