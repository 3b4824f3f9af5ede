"""Values that every layer uses; no I/O, standard library only."""
