"""Endpoints for operators: kill switches, messages to resend, health."""
