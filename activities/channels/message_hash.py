"""Hash of a message's key, by which providers and webhooks identify the message."""

from __future__ import annotations

import hashlib


def message_hash(key: str) -> str:
    """SHA-256 of the ledger's key, in hex: the same for the same key, and nothing can be read from it."""
    return hashlib.sha256(key.encode()).hexdigest()
