"""Durations, time zones, working time and holidays."""
