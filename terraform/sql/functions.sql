SELECT
  samples.* EXCEPT (function, package, stack, files, `lines`, is_first),
  name AS function,
  IFNULL(REGEXP_EXTRACT(name, r'^((?:.*/)?\w+)(?:\.|::)[^/]*$'), '') AS package,
  IF(name = samples.function, value, 0) AS self,
  value AS cumulative
FROM (
${samples}) AS samples
-- A function that calls itself is counted once.
CROSS JOIN UNNEST(stack) AS name WITH OFFSET AS position
WHERE is_first[OFFSET(position)]
