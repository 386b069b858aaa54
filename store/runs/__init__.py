"""Runs as rows: the projection of every decision."""
