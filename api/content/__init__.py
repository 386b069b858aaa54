"""Endpoints for template previews, test sends and content usage."""
