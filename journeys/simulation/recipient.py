"""RecipientState: one person's fields, consents and history for the in-memory gate.

Consents, addresses, tickets and the time zone are the person's; each role has its own history of messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from journeys.calendar.timezones import zone_of
from journeys.gate.verdicts import QueuedMessage, RecipientContext, SentMessage
from journeys.simulation.operations import OperatorState
from journeys.simulation.timeline import Scenario

CONTEXT_FIELDS = frozenset({"email", "phone", "timezone"})
"""Fields that decide a person's addresses and time zone."""


@dataclass(slots=True)
class RecipientState:
    """A person's fields, consents, urgent tickets and operator state; `contexts` by role, without the queue."""

    scenario: Scenario
    facts: dict[str, dict[str, Any]] = field(default_factory=lambda: {"profile": {}, "account": {}})
    consents: dict[tuple[str, str], bool] = field(default_factory=dict)
    tickets: frozenset[str] = frozenset()
    operations: OperatorState = field(default_factory=OperatorState)
    contexts: dict[str, RecipientContext] = field(default_factory=dict)

    def change_fields(self, scope: Literal["profile", "account"], traits: Mapping[str, Any]) -> set[str]:
        """Take over the fields of a profile or an account; the names of those that changed."""
        known = self.facts[scope]
        changed = {name for name, value in traits.items() if known.get(name) != value}
        if changed:
            self.facts = {**self.facts, scope: {**known, **traits}}
        if changed & CONTEXT_FIELDS:
            self._update(addresses=self._addresses(), zone=self._zone())
        return changed

    def change_tickets(self, signal: str, data: Mapping[str, Any], at: datetime) -> None:
        """Open or resolve an urgent ticket, by a signal of the policy."""
        self.tickets = self.scenario.policy.urgent_ticket.open_after(self.tickets, signal, data)
        for ticket in self.tickets:
            self.operations.since.setdefault(("ticket", ticket), at)
        self._update(urgent_open=bool(self.tickets))

    def change_consent(self, place: tuple[str, str], granted: bool | None, at: datetime) -> None:
        """Grant or refuse a (channel, topic); None takes a statement back."""
        others = {other: consent for other, consent in self.consents.items() if other != place}
        self.consents = others if granted is None else {**self.consents, place: granted}
        self.operations.since["consent", *place] = at
        self._update(consents=self.consents)

    def add_sent(self, role: str, sent: SentMessage) -> None:
        """Add a message to a role's history, and drop those that no rule counts any more."""
        context = self.contexts[role]
        recent = (message for message in context.sent if message.at + self.scenario.horizon > sent.at)
        self.contexts[role] = replace(context, sent=(*recent, sent))

    def context(self, role: str, now: datetime, queue: Iterable[QueuedMessage] = ()) -> RecipientContext:
        """The gate's context of the person in a role, with the role's queue."""
        context = self.contexts.get(role)
        if context is None:
            context = RecipientContext(self._addresses(), self.consents, (), bool(self.tickets), zone=self._zone())
            self.contexts[role] = context
        queued = tuple(queue)
        if queued:
            context = replace(context, queue=queued)
        return self.operations.added_to(context, now)

    def _update(self, **changes: Any) -> None:
        self.contexts = {role: replace(context, **changes) for role, context in self.contexts.items()}

    def _zone(self) -> str:
        return zone_of(self.facts["profile"], self.facts["account"], self.scenario.policy.timezone)

    def _addresses(self) -> dict[str, bool]:
        reachable = dict.fromkeys(self.scenario.reachable, True)
        return {**reachable, "email": True} if self.facts["profile"].get("email") else reachable
