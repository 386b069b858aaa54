"""Contract tests of people and accounts."""
