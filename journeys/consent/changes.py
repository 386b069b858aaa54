"""Changes of consent, their proof, and whether they need confirmation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from journeys.consent import statements
from journeys.consent.preferences import ChannelTopic
from journeys.consent.rules import ConsentRules, ConsentRuleSet
from journeys.events.inbound import StoredEvent
from journeys.gate.verdicts import ANY, Consents

REQUESTED: Final = "consent_requested"
"""The signal that has the link of a pending grant sent."""
CONFIRMED: Final = "consent_confirmed"
REPEAT_AFTER: Final = timedelta(minutes=10)
"""Another request within this time sends no second link: a public form must not flood somebody's mailbox."""


@dataclass(frozen=True, slots=True)
class ConsentChange:
    """A change for a channel (or `*`) and a topic (or `*`); `granted` None takes the statement there back.

    `wording` is the text that the person was shown; `proof` names the evidence and does not identify the person.
    `confirmed`: another system has the confirmation; `proof` names it. `address` is the keyed hash of the address that a
    confirmed grant is bound to.
    """

    channel: str
    topic: str
    granted: bool | None
    source: str
    wording: str = ""
    proof: Mapping[str, str] = field(default_factory=dict)
    confirmed: bool = False
    address: str | None = None

    @property
    def place(self) -> ChannelTopic:
        return self.channel, self.topic


def waits_for_confirmation(rules: ConsentRules, before: Consents, change: ConsentChange) -> bool:
    """Whether a grant needs a confirmation first; one that was confirmed before does not."""
    return bool(
        change.granted
        and not change.confirmed
        and before.get(change.place) is not True
        and rules.needs_confirming(*change.place)
    )


def may_need_confirmation(rules: ConsentRules, changes: Sequence[ConsentChange]) -> bool:
    """Whether any of these changes may need a confirmation, whatever the consents are."""
    return any(change.granted and rules.needs_confirming(*change.place) for change in changes)


def only_grants(changes: Sequence[ConsentChange]) -> bool:
    """Whether every change is a grant."""
    return all(change.granted for change in changes)


def changes_in(book: ConsentRuleSet, item: StoredEvent) -> list[ConsentChange]:
    """The consent changes of an event, in its order, with the event as their proof."""
    event = item.event
    stated = statements.statements_in(book.rules, event)
    if not stated:
        return []
    proof = {"event": event.message_id, "by": item.source}
    address = (event.context or {}).get("ip")
    if isinstance(address, str) and address:
        proof["ip_hash"] = book.addresses.digest("ip", address)
    source, shown = f"{event.kind}:{event.name}", statements.wording(event)
    return [
        ConsentChange(statement.channel, statement.topic, statement.granted, source, shown, proof)
        for statement in stated
    ]


def opt_out_by_reply(message: str) -> ConsentChange:
    """The change by a reply that is an opt-out keyword: no more messages by the channel of the message, mail."""
    return ConsentChange("email", ANY, granted=False, source="reply", proof={"message": message, "word": "stop"})
