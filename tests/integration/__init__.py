"""Tests on a real PostgreSQL, with a Temporal server where runs are needed."""
