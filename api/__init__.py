"""HTTP API: events, queries, publication, consent, tasks."""
