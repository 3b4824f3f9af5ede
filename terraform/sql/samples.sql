SELECT
  date,
  service_name AS service,
  type,
  start,
  `end`,
  labels.key_value AS labels,
  profiles,
  sample_type,
  unit,
  value,
  function,
  package,
  stack,
  files,
  `lines`,
  mapping,
  sample_labels.key_value AS sample_labels
FROM `${dataset}.files`
