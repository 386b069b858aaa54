"""Changes of consent: statements with proof, and those that wait for confirmation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from journeys.consent import statements
from journeys.consent.preferences import ChannelTopic
from journeys.consent.rules import ConsentRules, ConsentRuleSet
from journeys.events.inbound import StoredEvent
from journeys.gate.verdicts import ANY, Consents


@dataclass(frozen=True, slots=True)
class ConsentChange:
    """What a person says to one channel (or `*`) and one topic (or `*`); `granted` None takes back what was said there.

    `wording` is what they were shown; `proof` says who or what vouches for it, with nothing that names the person.
    `confirmed` is a yes whose confirmation somebody else has, which the proof says.
    """

    channel: str
    topic: str
    granted: bool | None
    source: str
    wording: str = ""
    proof: Mapping[str, str] = field(default_factory=dict)
    confirmed: bool = False

    @property
    def place(self) -> ChannelTopic:
        return self.channel, self.topic


def waits_for_confirmation(rules: ConsentRules, before: Consents, change: ConsentChange) -> bool:
    """Whether a yes is none yet. Who has confirmed once need not do so again."""
    return bool(
        change.granted
        and not change.confirmed
        and before.get(change.place) is not True
        and rules.needs_confirming(*change.place)
    )


def may_ask(rules: ConsentRules, changes: Sequence[ConsentChange]) -> bool:
    """Whether any of these may need a confirmation, whatever was said before."""
    return any(change.granted and rules.needs_confirming(*change.place) for change in changes)


def only_grants(changes: Sequence[ConsentChange]) -> bool:
    """Whether nothing is taken back or refused."""
    return all(change.granted for change in changes)


def changes_in(book: ConsentRuleSet, item: StoredEvent) -> list[ConsentChange]:
    """What an event says of consent, in its order, with the event as its proof."""
    event = item.event
    said = statements.statements_in(book.rules, event)
    if not said:
        return []
    proof = {"event": event.message_id, "by": item.source}
    address = (event.context or {}).get("ip")
    if isinstance(address, str) and address:
        proof["ip_hash"] = book.addresses.digest("ip", address)
    source, shown = f"{event.kind}:{event.name}", statements.wording(event)
    return [
        ConsentChange(statement.channel, statement.topic, statement.granted, source, shown, proof) for statement in said
    ]


def opt_out_by_reply(message: str) -> ConsentChange:
    """A reply that is a stop word is a no to the channel of the message that it answers: mail."""
    return ConsentChange("email", ANY, granted=False, source="reply", proof={"message": message, "word": "stop"})
