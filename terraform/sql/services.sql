SELECT
  service_name AS service,
  type,
  MIN(start) AS first,
  MAX(`end`) AS last,
  COUNT(DISTINCT date) AS days,
  COUNT(DISTINCT TO_JSON_STRING(labels)) AS series,
  ARRAY_AGG(DISTINCT sample_type ORDER BY sample_type) AS sample_types
FROM `${dataset}.files`
GROUP BY service_name, type
