"""Values that every layer uses. Standard library only, no I/O."""
