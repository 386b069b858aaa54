"""Consent statements and bounces in memory, and the messages and runs that they end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from journeys.consent.changes import (
    CONFIRMED,
    REPEAT_AFTER,
    REQUESTED,
    ConsentChange,
    decide_change,
    is_request,
    opt_out_by_reply,
    without_requests,
)
from journeys.consent.precedence import StatementEffect
from journeys.consent.statements import bounce_in, statements_in
from journeys.events.inbound import InboundEvent
from journeys.gate.consent import has_opted_out, refusals_by_all
from journeys.gate.verdicts import Reason
from journeys.simulation.gate import InMemoryGate
from journeys.simulation.lanes import Lanes
from journeys.simulation.mailboxes.suppressions import Suppressions
from journeys.simulation.messages import DeferredMessage
from journeys.simulation.reactions.replies import keyword_in, messages_answered_by
from journeys.simulation.subjects import SimulatedSubject
from journeys.simulation.timeline import Scenario

CausedSignal = tuple[SimulatedSubject, str, Mapping[str, Any]]
"""A signal that a change causes: its person, name and data."""


class ConsentReactions:
    """What people state of consent and which addresses bounce, each in force with the commit that accepts it."""

    def __init__(self, scenario: Scenario, lanes: Lanes, suppressions: Suppressions) -> None:
        self.scenario, self.lanes, self.suppressions = scenario, lanes, suppressions

    def change(self, gate: InMemoryGate, changes: Sequence[ConsentChange], at: datetime) -> list[CausedSignal]:
        """Record consent changes; a refusal of a journey's last channel ends its runs (C5). The signals that it causes."""
        recipient, rules = gate.recipient, self.scenario.consent
        caused, withdraws = list[CausedSignal](), False
        for change in changes:
            place = {"channel": change.channel, "topic": change.topic}
            statement = change.dated(recipient.newest.get(change.place, {}), at)
            effect = decide_change(rules, recipient.newest, recipient.consents_now, change, statement)
            if not is_request(rules, change):
                recipient.add_statement(change, statement, at)
            if effect is StatementEffect.WAITS:
                asked_at = recipient.pending.get(change.place)
                if asked_at is None or at - asked_at >= REPEAT_AFTER:
                    recipient.pending[change.place] = at
                    caused.append((gate.person, REQUESTED, {"wording": change.wording, **place}))
            elif not change.granted:
                recipient.drop_pending(change.place, statement.at)
                withdraws |= effect is StatementEffect.APPLIED
            elif change.confirmed and recipient.pending.pop(change.place, None) is not None:
                caused.append((gate.person, CONFIRMED, place))
        if withdraws:
            self._act_on_refusal(gate, at)
        return caused

    def _act_on_refusal(self, gate: InMemoryGate, at: datetime) -> None:
        """End the runs that have no channel left, and withdraw the messages that may no longer be sent."""
        policy, consents = self.scenario.policy, gate.recipient.consents_now
        ended = frozenset(run for run in gate.person.open if has_opted_out(policy, run.chart, consents))
        for run in gate.person.open:
            if run in ended:
                self.lanes.add(gate.person, "opted_out", "", at, {}, None, target=run)

        def refusals(deferred: DeferredMessage) -> tuple[Reason, ...] | None:
            message = deferred.message
            return refusals_by_all(policy, message.via, message.topic, message.priority, consents)

        gate.withdraw(refusals, at, ended)

    def changes_in(self, gate: InMemoryGate, event: InboundEvent, at: datetime) -> list[ConsentChange]:
        """The consent changes of an event: its statements, said at its instant, or a keyword that answers a mail."""
        statements = statements_in(self.scenario.consent, event)
        if statements:
            changes = [ConsentChange(item.channel, item.topic, item.granted, event.name, at=at) for item in statements]
            return without_requests(self.scenario.consent, changes) if event.historical else changes
        if keyword_in(event) != "stop":
            return []
        answered = messages_answered_by(gate, event.data)
        return [opt_out_by_reply(mail.key) for mail in [item for _, item in answered if item.channel == "email"][:1]]

    def suppress(self, gate: InMemoryGate, event: InboundEvent, at: datetime) -> None:
        """Suppress the address that an event says has bounced or complained: the one it names, else the person's own."""
        bounced = bounce_in(self.scenario.consent, event)
        if bounced is None:
            return
        rules, about = self.scenario.consent.soft_bounces, (gate.person, bounced.channel)
        if bounced.hard:
            self.suppressions.suppress(*about, bounced.reason, at, bounced.address)
        elif self.suppressions.has_bounced_enough(*about, at, rules, bounced.address):
            ends_at = at + rules.rest.at_most()
            self.suppressions.suppress(*about, bounced.reason, at, bounced.address, ends_at)
