"""Addresses to which double opt-ins are bound, as keyed hashes.

A yes that needed a confirmation counts for the address at which it was confirmed. Whoever changes the address must confirm again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from journeys.consent.statements import ADDRESS_FIELDS
from journeys.tokens.address_hash import AddressHash

MAIL: Final = "email"
"""The channel of confirmations, and of what is bound to no address of its own."""


def bound_address(addresses: AddressHash, channel: str, profile: Mapping[str, Any]) -> str | None:
    """The hash of the address that a yes for this channel (or `*`) is bound to; None if the profile has none."""
    bound_channel = channel if channel in ADDRESS_FIELDS else MAIL
    address = _address(bound_channel, profile)
    return addresses.digest(bound_channel, address) if address is not None else None


def current_addresses(addresses: AddressHash, profile: Mapping[str, Any]) -> frozenset[str]:
    """Every hash of the profile's addresses, one for each key."""
    known = {channel: address for channel in ADDRESS_FIELDS if (address := _address(channel, profile)) is not None}
    return frozenset(addresses.of_all(known))


def counts_now(bound: str | None, current: Collection[str]) -> bool:
    """Whether a statement bound to this address counts for a person with these addresses."""
    return bound is None or bound in current


def _address(channel: str, profile: Mapping[str, Any]) -> str | None:
    value = profile.get(ADDRESS_FIELDS[channel])
    return value if isinstance(value, str) and value.strip() else None
