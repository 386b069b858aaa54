"""Temporal workflows: they turn decisions into timers and activities, durably."""
