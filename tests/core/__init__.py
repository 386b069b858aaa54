"""Tests without a server, of any folder: rules, parsers, channels' content, settings, commands."""
