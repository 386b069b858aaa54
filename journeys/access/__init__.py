"""Access, pure: kinds of callers, scopes of routes, and who may send or write what."""
