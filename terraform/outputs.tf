output "urls" {
  description = "The URL of each function. Agents post to write, query serves the page and all read requests, and go tool pprof reads from merge."
  value       = local.urls
}

output "storage_url" {
  description = "The storage URL, for the command line on another machine: profbucket reindex --storage \"$(terraform output -raw storage_url)\""
  value       = local.storage_url
}

output "bucket" {
  description = "The name of the bucket of profiles."
  value       = google_storage_bucket.profiles.name
}

output "commands" {
  description = "Commands to copy and run. With access \"public\", set KEY to an API key first; with \"iam\", they work for writers and readers."
  value       = merge(var.access == "public" ? local.commands_with_key : local.commands_with_iam, var.sql ? local.commands_with_sql : {})
}

output "grafana" {
  description = "Grafana's data source, as a file for its folder provisioning/datasources. With access \"public\", set PROFBUCKET_KEY in Grafana's environment to an API key with the scope read; with \"iam\", run the command \"page\" of the output commands next to Grafana."
  value       = var.access == "public" ? yamlencode(local.grafana_with_key) : yamlencode(local.grafana_with_iam)
}

locals {
  urls = { for name, function in google_cloudfunctions2_function.function : name => function.service_config[0].uri }

  # https://x:$KEY@…: the key is the password; the user name is ignored.
  urls_with_key = { for name, url in local.urls : name => replace(url, "https://", "https://x:$KEY@") }
  token         = "-H \"Authorization: Bearer $(gcloud auth print-identity-token)\""
  range         = "service=shop&type=cpu&from=now-1h"

  commands_with_key = {
    post  = "curl --fail-with-body --data-binary @cpu.pb.gz \"${local.urls_with_key.write}/api/0/profiles?service=shop&type=cpu&version=0.0.1\""
    find  = "curl --fail-with-body \"${local.urls_with_key.query}/api/0/profiles?${local.range}\""
    pprof = "go tool pprof \"${local.urls_with_key.merge}/merge?${local.range}\""
    diff  = "go tool pprof -base \"${local.urls_with_key.merge}/merge?${local.range}&version=0.0.1\" \"${local.urls_with_key.merge}/merge?${local.range}&version=0.0.2\""
    # profefe's agent, in a Go program.
    agent = "agent.Start(\"${replace(local.urls_with_key.write, "$KEY", "\"+os.Getenv(\"KEY\")+\"")}\", \"shop\", agent.WithCPUProfile(10*time.Second), agent.WithLabels(\"version\", \"0.0.1\"))"
  }

  commands_with_iam = {
    post = "curl --fail-with-body ${local.token} --data-binary @cpu.pb.gz \"${local.urls.write}/api/0/profiles?service=shop&type=cpu&version=0.0.1\""
    find = "curl --fail-with-body ${local.token} \"${local.urls.query}/api/0/profiles?${local.range}\""
    # Browsers and pprof cannot send an identity token. These proxies add it: run one in another terminal.
    page  = "gcloud run services proxy ${var.name}-query --project=${var.project} --region=${var.region} --port=8081"
    proxy = "gcloud run services proxy ${var.name}-merge --project=${var.project} --region=${var.region} --port=8080"
    pprof = "go tool pprof \"http://localhost:8080/merge?${local.range}\""
    diff  = "go tool pprof -base \"http://localhost:8080/merge?${local.range}&version=0.0.1\" \"http://localhost:8080/merge?${local.range}&version=0.0.2\""
    # profefe's agent, in a Go program; idtoken is google.golang.org/api/idtoken.
    agent = "client, err := idtoken.NewClient(ctx, \"${local.urls.write}\"); agent.Start(\"${local.urls.write}\", \"shop\", agent.WithHTTPClient(client), agent.WithCPUProfile(10*time.Second), agent.WithLabels(\"version\", \"0.0.1\"))"
  }

  commands_with_sql = {
    sql = "bq query --project_id=${var.project} --location=${var.region} --use_legacy_sql=false 'SELECT function, SUM(self) AS nanoseconds FROM ${local.dataset}.functions WHERE date >= CURRENT_DATE() - 7 AND type = \"cpu\" AND sample_type = \"cpu\" GROUP BY function ORDER BY nanoseconds DESC LIMIT 20'"
  }

  grafana = {
    name     = "profbucket"
    type     = "grafana-pyroscope-datasource"
    access   = "proxy"
    jsonData = { minStep = "15s" }
  }
  grafana_with_key = {
    apiVersion = 1
    datasources = [merge(local.grafana, {
      url            = local.urls.query
      basicAuth      = true
      basicAuthUser  = "x"
      secureJsonData = { basicAuthPassword = "$PROFBUCKET_KEY" }
    })]
  }
  grafana_with_iam = {
    apiVersion  = 1
    datasources = [merge(local.grafana, { url = "http://localhost:8081" })]
  }
}
