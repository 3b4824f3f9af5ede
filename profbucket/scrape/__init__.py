"""Fetch profiles from programs that expose /debug/pprof, and store them."""
