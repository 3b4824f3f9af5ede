"""Pyroscope's query API, as Grafana's data source and Profiles Drilldown call it, over profbucket's queries."""
