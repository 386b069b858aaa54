"""Changes of consent, their proof, and whether they need confirmation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from journeys.consent import statements
from journeys.consent.precedence import (
    DatedStatement,
    NewestStatements,
    StatedBy,
    StatementEffect,
    effect_of,
    in_force,
)
from journeys.consent.preferences import ChannelTopic, overlaps
from journeys.consent.rules import ConsentRules, ConsentRuleSet
from journeys.events.inbound import StoredEvent
from journeys.events.network_addresses import IP_HASH, ip_hash
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
    confirmed grant is bound to. `at` is when it was said, by its sender's corrected clock; None for here and now. `unreadable`
    says why an opt-out was taken in its widest meaning.
    """

    channel: str
    topic: str
    granted: bool | None
    source: str
    wording: str = ""
    proof: Mapping[str, str] = field(default_factory=dict)
    confirmed: bool = False
    address: str | None = None
    by: StatedBy = StatedBy.COMPANY
    at: datetime | None = None
    unreadable: str = ""

    @property
    def place(self) -> ChannelTopic:
        return self.channel, self.topic

    @property
    def is_own(self) -> bool:
        """Whether the person said it themselves, or an operator who gave a reason: then it holds at their addresses too."""
        return self.confirmed or self.by is not StatedBy.COMPANY

    def dated(self, newest: NewestStatements, now: datetime) -> DatedStatement:
        """The statement with its instant: at `now` or before, and one said here after all that was said before it."""
        at = min(self.at, now) if self.at is not None else max([now, *(_after(known) for known in newest.values())])
        by = StatedBy.PERSON if self.confirmed else self.by
        return DatedStatement(self.granted, at, by, self.source, self.wording, self.address)


def _after(statement: DatedStatement) -> datetime:
    return statement.at + timedelta(microseconds=1)


def is_request(rules: ConsentRules, change: ConsentChange) -> bool:
    """Whether a change is a grant that counts only once it is confirmed."""
    return bool(change.granted and not change.confirmed and rules.needs_confirming(*change.place))


def without_requests(rules: ConsentRules, changes: Sequence[ConsentChange]) -> list[ConsentChange]:
    """The changes that history makes: it asks nobody for a confirmation, so its unconfirmed grants do not count."""
    return [change for change in changes if not is_request(rules, change)]


def decide_change(
    rules: ConsentRules,
    known: Mapping[ChannelTopic, NewestStatements],
    consents: Consents,
    change: ConsentChange,
    statement: DatedStatement,
) -> StatementEffect:
    """The effect of a change; `known` are the newest statements, `consents` what is in force.

    A grant that must be confirmed waits, unless it is in force already or the person has opted out since.
    """
    if not is_request(rules, change):
        return effect_of(known.get(change.place, {}), statement)
    if consents.get(change.place) is True:
        return StatementEffect.APPLIED
    refused = (
        place for place, newest in known.items() if overlaps(place, change.place) and _refuses(newest, statement)
    )
    stale = any(refused) or effect_of(known.get(change.place, {}), statement) is StatementEffect.STALE
    return StatementEffect.STALE if stale else StatementEffect.WAITS


def _refuses(newest: NewestStatements, statement: DatedStatement) -> bool:
    counting = in_force(newest)
    return counting is not None and counting.granted is False and counting.at >= statement.at


def may_need_confirmation(rules: ConsentRules, changes: Sequence[ConsentChange]) -> bool:
    """Whether any of these changes may need a confirmation, whatever the consents are."""
    return any(change.granted and rules.needs_confirming(*change.place) for change in changes)


def changes_in(book: ConsentRuleSet, item: StoredEvent) -> list[ConsentChange]:
    """The consent changes of an event, in its order, with the event as their proof."""
    event = item.event
    stated = statements.statements_in(book.rules, event)
    if not stated:
        return []
    proof = {"event": event.message_id, "by": item.source}
    address = ip_hash(event.context)
    if address is not None:
        proof[IP_HASH] = address
    source, shown = f"{event.kind}:{event.name}", statements.wording(event)
    at = item.occurred_at if event.timestamp is not None else None
    return [
        ConsentChange(
            statement.channel, statement.topic, statement.granted, source, shown, proof, at=at,
            unreadable=statement.unreadable,
        )
        for statement in stated
    ]  # fmt: skip


def opt_out_by_reply(message: str) -> ConsentChange:
    """The change by a reply that is an opt-out keyword: no more messages by the channel of the message, mail."""
    proof = {"message": message, "word": "stop"}
    return ConsentChange("email", ANY, granted=False, source="reply", proof=proof, by=StatedBy.PERSON)
