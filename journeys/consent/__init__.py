"""Consent, pure: rules, statements in events, preferences and opt-out keywords."""
