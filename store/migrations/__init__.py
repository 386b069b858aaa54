"""Migrations of the database, applied in order by `python -m store.migrate`."""
