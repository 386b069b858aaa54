"""Access, pure: kinds of callers, scopes of routes, demands and refusals."""
