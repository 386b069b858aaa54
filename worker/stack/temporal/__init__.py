"""Embedded Temporal server: programs, stores and process."""
