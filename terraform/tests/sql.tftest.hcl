mock_provider "google" {}
mock_provider "time" {}
mock_provider "archive" {}

variables {
  project = "my-project"
}

run "by_default_there_are_no_samples" {
  command = plan

  assert {
    condition     = !contains(keys(google_cloudfunctions2_function.function["compact"].service_config[0].environment_variables), "PROFBUCKET_SAMPLES")
    error_message = "compact writes samples by default."
  }
  assert {
    condition     = length(google_bigquery_dataset.profiles) == 0 && length(google_bigquery_table.files) == 0 && length(google_bigquery_table.view) == 0
    error_message = "There is a dataset by default."
  }
  assert {
    condition     = !anytrue([for api in keys(google_project_service.api) : strcontains(api, "bigquery")])
    error_message = "An API is enabled that is not used."
  }
}

run "compact_writes_samples_that_expire" {
  command = plan

  variables {
    samples_days = 365
  }

  assert {
    condition     = [for name, f in google_cloudfunctions2_function.function : name if lookup(f.service_config[0].environment_variables, "PROFBUCKET_SAMPLES", "") == "1"] == ["compact"]
    error_message = "compact does not write samples, or another function does."
  }
  assert {
    condition     = google_cloudfunctions2_function.function["compact"].service_config[0].available_memory == "4Gi"
    error_message = "compact lacks the memory for samples."
  }
  assert {
    condition     = [for rule in google_storage_bucket.profiles.lifecycle_rule : one(rule.condition).age if one(rule.condition).matches_prefix == tolist(["_/samples/v1/date=2"])] == [365]
    error_message = "Samples do not expire after samples_days."
  }
  assert {
    condition     = length(google_bigquery_dataset.profiles) == 0
    error_message = "There is a dataset without sql = true."
  }
}

run "sql_needs_samples" {
  command = plan

  variables {
    sql = true
  }

  expect_failures = [var.sql]
}

run "samples_are_kept_for_whole_days" {
  command = plan

  variables {
    samples_days = 0.5
  }

  expect_failures = [var.samples_days]
}

run "the_table_reads_the_files_by_date_service_and_type" {
  variables {
    name         = "my-profiles"
    samples_days = 365
    sql          = true
  }

  assert {
    condition = alltrue([
      for data in google_bigquery_table.files[0].external_data_configuration :
      data.source_format == "PARQUET"
      && data.source_uris == tolist(["gs://my-project-my-profiles/_/samples/v1/*"])
      && one(data.hive_partitioning_options).mode == "CUSTOM"
      && one(data.hive_partitioning_options).source_uri_prefix == "gs://my-project-my-profiles/_/samples/v1/{date:DATE}/{service:STRING}/{type:STRING}"
      && one(data.parquet_options).enable_list_inference
      && data.connection_id == google_bigquery_connection.samples[0].name
    ])
    error_message = "The table does not find the files, or reads lists as structures, or needs access to the bucket."
  }
  assert {
    condition     = google_bigquery_table.files[0].dataset_id == "my_profiles" && google_bigquery_dataset.profiles[0].location == google_storage_bucket.profiles.location
    error_message = "The dataset has another name, or is in another region than the bucket."
  }
  assert {
    condition     = one(google_bigquery_table.files[0].external_data_configuration).reference_file_schema_uri == "gs://${google_storage_bucket_object.empty_samples[0].bucket}/${google_storage_bucket_object.empty_samples[0].name}"
    error_message = "The schema is not that of the file without rows."
  }
  assert {
    condition     = !anytrue([for rule in google_storage_bucket.profiles.lifecycle_rule : anytrue([for prefix in coalesce(one(rule.condition).matches_prefix, []) : startswith(google_storage_bucket_object.empty_samples[0].name, prefix)])])
    error_message = "The file without rows expires."
  }
  assert {
    condition     = toset(keys(google_bigquery_table.view)) == toset(["samples", "functions", "services"])
    error_message = "A view is missing."
  }
  assert {
    condition = alltrue([
      for name, table in google_bigquery_table.view :
      strcontains(one(table.view).query, "FROM `my-project.my_profiles.files`") && !one(table.view).use_legacy_sql && table.dataset_id == "my_profiles"
    ])
    error_message = "A view reads another table."
  }
  assert {
    condition     = strcontains(output.commands.sql, "my_profiles.functions")
    error_message = "The output does not show a first query."
  }
}

run "only_bigquery_reads_the_files_for_readers" {
  variables {
    samples_days = 365
    sql          = true
    readers      = ["group:developers@example.com"]
  }

  assert {
    condition     = google_storage_bucket_iam_member.samples[0].condition[0].expression == "resource.type != \"storage.googleapis.com/Object\" || resource.name.startsWith(\"projects/_/buckets/my-project-profbucket/objects/_/samples/\")"
    error_message = "BigQuery may read more objects than samples."
  }
  assert {
    condition     = [for grant in google_bigquery_dataset_iam_member.reader : "${grant.member} ${grant.role}"] == ["group:developers@example.com roles/bigquery.dataViewer"]
    error_message = "Readers may not query the dataset, or may do more."
  }
}

run "destroy_deletes_no_table_that_was_made_by_hand" {
  command = plan

  variables {
    samples_days = 365
    sql          = true
  }

  assert {
    condition     = !google_bigquery_dataset.profiles[0].delete_contents_on_destroy
    error_message = "terraform destroy would delete tables that it did not make."
  }
  assert {
    condition     = !google_bigquery_table.files[0].deletion_protection && !anytrue([for table in google_bigquery_table.view : table.deletion_protection])
    error_message = "terraform could not replace a table, which holds no data."
  }
}
