"""Signed links, reply addresses, inbox tokens and keyed hashes of addresses."""
