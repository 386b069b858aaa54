"""Consent records, double opt-in, suppressions and attempts in flight."""
