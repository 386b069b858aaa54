"""Message content, pure: template facts, variants and surveys."""
