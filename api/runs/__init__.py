"""Endpoints for runs, operator commands and test clocks."""
