"""Endpoints that explain: why, why-not and traces."""
