"""Ids of people and accounts: kinds, and placeholders that name nobody."""
