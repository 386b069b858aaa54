"""Addresses as keyed hashes: what must be recognised for ever, but never read, not even after an erasure (design §9).

A keyed hash, because the space of phone numbers and likely addresses is small enough to try all of a plain one.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

_CONTEXT = b"tenure.address.1\x00"
_NUMBERS = frozenset({"sms", "whatsapp", "voice"})


@dataclass(frozen=True, slots=True)
class AddressHash:
    """Hashes of addresses. The first key makes new ones; all are asked, so an old key is never thrown away."""

    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        """Raises ValueError for no key."""
        if not self.keys or not all(self.keys):
            raise ValueError("addresses need a key to be hashed with")

    def digest(self, channel: str, address: str) -> str:
        """The hash under which an address is kept."""
        return _hash(self.keys[0], channel, address)

    def digests(self, channel: str, address: str) -> list[str]:
        """Every hash under which it may have been kept."""
        return [_hash(key, channel, address) for key in self.keys]

    def of_all(self, addresses: Mapping[str, str]) -> dict[str, str]:
        """By hash, the channel of each of a person's addresses (by channel)."""
        return {digest: channel for channel, address in addresses.items() for digest in self.digests(channel, address)}


def canonical_address(channel: str, address: str) -> str:
    """One spelling of an address: a number by its digits, all else without case, marks of width and outer space."""
    if channel in _NUMBERS:
        digits = "".join(str(unicodedata.decimal(mark)) for mark in address if mark.isdecimal())
        return digits.removeprefix("00")  # the international prefix, where it is not written as +
    return unicodedata.normalize("NFKC", address).strip().casefold()


def _hash(key: str, channel: str, address: str) -> str:
    told = f"{channel}\x00{canonical_address(channel, address)}".encode()
    return hmac.new(key.encode(), _CONTEXT + told, hashlib.sha256).hexdigest()
