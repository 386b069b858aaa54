"""Durations, time zones, working time, holidays and test clocks."""
