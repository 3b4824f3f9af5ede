"""Answer questions about stored profiles: find, merge, delta, timeline, labels, flame graphs."""
