"""API keys and quotas: their rows and statements."""
