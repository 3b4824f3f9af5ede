"""Aggregates of many profiles other than their sum: averages, latest values, increases of counters."""
