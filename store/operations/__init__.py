"""Queries of the reconciler."""
