"""Audiences of advertising platforms, kept in step by hashed addresses."""
