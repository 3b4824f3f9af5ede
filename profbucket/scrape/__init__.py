"""Scraping of programs that expose /debug/pprof."""
