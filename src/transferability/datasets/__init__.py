"""Data sets: rows with ids, items and labels."""
