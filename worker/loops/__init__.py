"""Periodic loops of the worker: reconciliation, reminders, escalations, exports."""
