"""Retention: rows that are older than the settings keep them are deleted, in slices."""
