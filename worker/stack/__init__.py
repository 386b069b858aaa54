"""Embedded stack: PostgreSQL, Temporal, a mail sink and our processes as children of one supervisor."""
