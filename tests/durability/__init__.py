"""Tests on a real Temporal server: replay, crashes, outages, skipped time."""
