"""Tasks: requests, assignment, reminders, escalation, log and conversations."""
