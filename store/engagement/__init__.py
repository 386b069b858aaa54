"""Engagement: clicks and interactions with the in-app inbox."""
