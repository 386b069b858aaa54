"""Mailboxes: addresses that several people may have, and their opt-outs.

A mailbox is an address of a channel whose addresses can be suppressed. Those that the policy lists as shared on purpose
(`shared_mailboxes`) are nobody's in particular: what one person says there is theirs alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from journeys.consent.preferences import ChannelTopic
from journeys.consent.statements import ADDRESS_FIELDS
from journeys.gate.policy import Policy
from journeys.gate.verdicts import ANY, Consents
from journeys.tokens.address_hash import canonical_address


def mailboxes_of(policy: Policy, profile: Mapping[str, Any]) -> dict[str, str]:
    """By channel, the person's mailboxes in one spelling, without those shared on purpose."""
    known = {channel: profile.get(field) for channel, field in ADDRESS_FIELDS.items()}
    spelled = {
        channel: canonical_address(channel, value)
        for channel, value in known.items()
        if isinstance(value, str) and value.strip()
    }
    return {
        channel: address for channel, address in spelled.items() if address and is_mailbox(policy, channel, address)
    }


def is_mailbox(policy: Policy, channel: str, address: str) -> bool:
    """Whether what is sent to an address of this channel counts for everybody who has it."""
    if channel not in ADDRESS_FIELDS:
        return False
    shared: frozenset[tuple[str, str]] | None = policy.memo.get(("shared_mailboxes",))
    if shared is None:
        spelled = (
            (each, canonical_address(each, listed)) for each in ADDRESS_FIELDS for listed in policy.shared_mailboxes
        )
        shared = policy.memo["shared_mailboxes",] = frozenset(spelled)
    return (channel, canonical_address(channel, address)) not in shared


def concerned(place: ChannelTopic, mailboxes: Mapping[str, str]) -> list[str]:
    """The channels of the mailboxes that a statement about a channel (or `*`) concerns."""
    return [channel for channel in mailboxes if place[0] in (ANY, channel)]


def with_refusals(consents: Consents, refused: Iterable[ChannelTopic]) -> Consents:
    """Consents with the topics that were opted out of at the person's mailboxes, by channel."""
    refusals = dict.fromkeys(refused, False)
    return {**consents, **refusals} if refusals else consents
