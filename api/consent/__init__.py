"""Endpoints and hosted pages for consent, suppression and preferences."""
