"""The embedded stack: real PostgreSQL, real Temporal and a mail sink, as child processes of one supervisor."""
