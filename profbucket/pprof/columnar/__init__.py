"""The merge engine: profiles as numpy columns instead of message objects."""
