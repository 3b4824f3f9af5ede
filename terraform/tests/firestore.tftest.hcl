mock_provider "google" {}
mock_provider "archive" {}

variables {
  project = "my-project"
}

run "the_indexes_are_those_that_the_queries_need" {
  command = plan

  assert {
    condition = toset([for one in google_firestore_index.index : { collection = one.collection, fields = one.fields[*].field_path }]) == toset([
      for one in jsondecode(file("../storage_gcs/indexes.json")).indexes : { collection = one.collection, fields = tolist(one.fields) }
    ])
    error_message = "Terraform makes other indexes than storage_gcs/indexes.json lists."
  }
  assert {
    condition     = alltrue(flatten([for one in google_firestore_index.index : [for field in one.fields : field.order == "ASCENDING"]]))
    error_message = "An index is in another order than find asks for: oldest first."
  }
  assert {
    condition = alltrue([
      for one in concat(values(google_firestore_index.index), values(google_firestore_field.field)) : one.database == google_firestore_database.index.name
    ])
    error_message = "An index is in another database."
  }
}

run "no_field_has_an_index_of_its_own_that_no_query_needs" {
  command = plan

  assert {
    condition = {
      for name, one in google_firestore_field.field : name => length(one.index_config) == 1 ? length(coalesce(one.index_config[0].indexes, [])) : null
      } == {
      for one in jsondecode(file("../storage_gcs/indexes.json")).fields : "${one.collection}: ${one.field}" => one.indexed ? null : 0
    }
    error_message = "Fields are indexed that storage_gcs/indexes.json exempts, or the other way round."
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
      for one in google_firestore_field.field : "${one.collection}.${one.field}" => one.ttl_config[0].expiration_offset if length(one.ttl_config) > 0
    } == { for one in jsondecode(file("../storage_gcs/indexes.json")).fields : "${one.collection}.${one.field}" => one.collection == "blocks" ? "7776000s" : "604800s" if one.ttl }
    error_message = "Entries expire at another time than their objects, or not at all."
  }
}

run "the_database_is_of_its_own" {
  command = plan

  assert {
    condition     = google_firestore_database.index.name == "profbucket" && google_firestore_database.index.type == "FIRESTORE_NATIVE"
    error_message = "The index is in a database that others use, or cannot be queried."
  }
}
