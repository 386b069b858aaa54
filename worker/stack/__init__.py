"""Embedded stack: PostgreSQL, Temporal, mail sink and our processes."""
