"""Endpoints of the feed."""
