"""Shared parts of channels over HTTP: requests, access tokens, reply tables."""
