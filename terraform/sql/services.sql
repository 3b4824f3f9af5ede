SELECT date, service, type, sample_type, unit, SUM(profiles) AS profiles, SUM(value) AS value
FROM (
  SELECT
    date,
    service_name AS service,
    type,
    sample_type,
    unit,
    -- Of each set of labels: all its rows have the same number.
    ANY_VALUE(profiles) AS profiles,
    SUM(value) AS value
  FROM `${dataset}.files`
  GROUP BY date, service_name, type, sample_type, unit, TO_JSON_STRING(labels)
)
GROUP BY date, service, type, sample_type, unit
