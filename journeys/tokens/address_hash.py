"""Keyed hashes of addresses, for suppressions and blocklists.

An address can be compared but not read, also after an erasure. The hash has a key, because a plain hash of a phone
number or a likely address can be found by trial.
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
    """Hashes of addresses. The first key makes new hashes; all keys are looked up, so no key may be dropped."""

    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        """Raises ValueError for no key."""
        if not self.keys or not all(self.keys):
            raise ValueError("addresses need a key to be hashed with")

    def digest(self, channel: str, address: str) -> str:
        """The hash under which an address is stored."""
        return _hash(self.keys[0], channel, address)

    def digests(self, channel: str, address: str) -> list[str]:
        """Every hash under which it may be stored, one for each key."""
        return [_hash(key, channel, address) for key in self.keys]

    def of_all(self, addresses: Mapping[str, str]) -> dict[str, str]:
        """By hash, the channel of each address of a person (given by channel)."""
        return {digest: channel for channel, address in addresses.items() for digest in self.digests(channel, address)}


def canonical_address(channel: str, address: str) -> str:
    """One spelling of an address: a number by its digits, others in NFKC, case-folded, without outer space."""
    if channel in _NUMBERS:
        digits = "".join(str(unicodedata.decimal(mark)) for mark in address if mark.isdecimal())
        return digits.removeprefix("00")  # the international prefix, where it is not written as +
    return unicodedata.normalize("NFKC", address).strip().casefold()


def _hash(key: str, channel: str, address: str) -> str:
    message = f"{channel}\x00{canonical_address(channel, address)}".encode()
    return hmac.new(key.encode(), _CONTEXT + message, hashlib.sha256).hexdigest()
