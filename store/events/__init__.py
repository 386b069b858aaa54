"""Accepted events: ingestion, admission, merges, quarantine and dead letters."""
