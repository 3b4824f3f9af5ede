"""Many profiles in one object: its container, its sparse matrices, how it is built and read."""
