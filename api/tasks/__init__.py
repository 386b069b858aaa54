"""Endpoints for tasks, assignment, holds and conversations."""
