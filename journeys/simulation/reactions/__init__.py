"""Reactions of people in memory: consent, bounces, replies and the tasks of replies."""
