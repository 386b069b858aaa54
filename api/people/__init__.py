"""Endpoints for people: where they are, their timeline and messages."""
