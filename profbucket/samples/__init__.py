"""Samples as a table: Parquet files in the bucket, one for each service, profile type and day, and SQL on them."""
