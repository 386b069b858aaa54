"""Processes of a benchmark: servers, workers, mail sink and HTTP client."""
