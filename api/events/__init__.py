"""Endpoints that accept events: Segment calls, signals, plays and quarantine."""
