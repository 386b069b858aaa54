"""Test support: servers, builders, strategies and local providers."""
