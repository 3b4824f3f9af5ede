"""Check, date and write the profiles that agents post."""
