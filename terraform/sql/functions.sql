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
  mapping,
  sample_labels.key_value AS sample_labels,
  name AS function,
  IFNULL(REGEXP_EXTRACT(name, r'^((?:.*/)?\w+)(?:\.|::)[^/]*$'), '') AS package,
  IF(name = function, value, 0) AS self,
  value AS cumulative
FROM `${dataset}.files`
-- A function that calls itself is counted once.
CROSS JOIN UNNEST(ARRAY(SELECT DISTINCT frame FROM UNNEST(stack) AS frame)) AS name
