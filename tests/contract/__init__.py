"""Tests of the HTTP API, and of vendors' protocols by their own clients."""
