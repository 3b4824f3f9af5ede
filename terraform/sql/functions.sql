SELECT
  samples.* EXCEPT (function, package, stack, files, `lines`),
  name AS function,
  IFNULL(REGEXP_EXTRACT(name, r'^((?:.*/)?\w+)(?:\.|::)[^/]*$'), '') AS package,
  IF(name = samples.function, value, 0) AS self,
  value AS cumulative
FROM (
${samples}) AS samples
-- A function that calls itself is counted once.
CROSS JOIN UNNEST(ARRAY(SELECT DISTINCT frame FROM UNNEST(stack) AS frame)) AS name
