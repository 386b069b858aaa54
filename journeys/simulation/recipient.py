"""State of a recipient in memory: consents, replies, suppressions, history, switches.

The simulator changes it by recorded events; the gate and why-not read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from journeys.calendar.timezones import zone_of
from journeys.consent.changes import ConsentChange
from journeys.consent.precedence import DatedStatement, NewestStatements, granted_in, with_statement
from journeys.consent.preferences import ChannelTopic, overlaps
from journeys.consent.statements import ADDRESS_FIELDS
from journeys.gate.queue import QueuedMessage
from journeys.gate.verdicts import Consents, Hold, KillSwitch, OpenConversation, RecipientContext, SentMessage
from journeys.simulation.mailboxes.history import Mailboxes
from journeys.simulation.recording import UnusableRecord, read_instant
from journeys.simulation.subjects import NO_FIELDS, SimulatedSubject
from journeys.simulation.timeline import Scenario

Since = dict[tuple[str, ...], datetime]
"""Since when a fact holds, by the fact: `("consent", "email", "offers")`."""

NO_ACCOUNTS: frozenset[str] = frozenset()


@dataclass(slots=True)
class OperatorState:
    """Switches that are thrown, and templates that cannot be sent with the reason; they apply to everybody."""

    stops: tuple[KillSwitch, ...] = ()
    unsendable: dict[str, str] = field(default_factory=dict)
    since: Since = field(default_factory=dict)

    def apply(self, operation: str, data: Mapping[str, Any], at: datetime) -> None:
        """Apply an operation on switches or content (`recording.OPERATOR`); any other changes nothing."""
        scope, name, template = (str(data.get(key) or "") for key in ("scope", "name", "template"))
        match operation:
            case "stop":
                self.stops = (*self._other_stops(scope, name), KillSwitch(scope, name, str(data.get("why") or "")))
                self.since["stop", scope, name] = at
            case "release_stop":
                self.stops = self._other_stops(scope, name)
            case "retire_content":
                self.unsendable[template] = str(data.get("why") or f"{template} is retired")
                self.since["content", template] = at
            case "mend_content":
                self.unsendable.pop(template, None)
            case _:
                pass

    def _other_stops(self, scope: str, name: str) -> tuple[KillSwitch, ...]:
        return tuple(switch for switch in self.stops if (switch.scope, switch.name) != (scope, name))


def hold_in(data: Mapping[str, Any]) -> Hold | None:
    """The hold that an operation places; None without an end."""
    try:
        until = read_instant(data.get("until"))
    except UnusableRecord:
        return None
    return Hold(until, str(data.get("by") or "somebody"), str(data.get("why") or ""))


@dataclass(slots=True)
class RecipientState:
    """What the gate knows of a person beside their fields. `pending` are opt-ins that wait for a confirmation, since when.

    `since` is when these facts began, for explanations; `facts_since` adds those of the person's addresses.
    """

    scenario: Scenario
    operations: OperatorState
    person: SimulatedSubject
    mailboxes: Mailboxes
    newest: dict[ChannelTopic, NewestStatements] = field(default_factory=dict)
    consents: dict[ChannelTopic, bool] = field(default_factory=dict)
    """What is in force of the newest statements."""
    pending: dict[tuple[str, str], datetime] = field(default_factory=dict)
    talks: tuple[OpenConversation, ...] = ()
    sent: tuple[SentMessage, ...] = ()
    since: Since = field(default_factory=dict)

    def keep_statements(self, place: ChannelTopic, newest: NewestStatements, at: datetime) -> None:
        """Take over the newest statements of a (channel, topic); the one that counts is in force since `at`."""
        self.newest[place] = newest
        consents = granted_in(self.newest)
        if consents.get(place) is not self.consents.get(place):
            self.since["consent", *place] = at
        self.consents = consents

    def add_statement(self, change: ConsentChange, statement: DatedStatement, at: datetime) -> None:
        """Add a statement; what the person has said themselves holds at their mailboxes too."""
        self.keep_statements(change.place, with_statement(self.newest.get(change.place, {}), statement), at)
        if change.is_own:
            self.mailboxes.keep_statement(self.person, change.place, statement)

    def drop_pending(self, place: ChannelTopic, said_at: datetime) -> None:
        """Refuse every pending grant of this instant or before that a refusal covers, or that covers it."""
        for other in [other for other, at in self.pending.items() if at <= said_at and overlaps(place, other)]:
            del self.pending[other]

    def open_conversation(self, conversation: OpenConversation, at: datetime) -> None:
        """The person has replied to a message of a run, or has written again."""
        self.close_conversation(conversation.run, keep_since=True)
        self.talks = (*self.talks, conversation)
        self.since.setdefault(("talk", conversation.run), at)

    def close_conversation(self, run: str, *, keep_since: bool = False) -> None:
        """The conversation of a run is closed."""
        self.talks = tuple(conversation for conversation in self.talks if conversation.run != run)
        if not keep_since:
            self.since.pop(("talk", run), None)

    def add_sent(self, sent: SentMessage) -> None:
        """Add a message to the history, and drop those that no rule counts any more."""
        begin = sent.at - self.scenario.horizon
        self.sent = (*(message for message in self.sent if message.at > begin), sent)
        self.mailboxes.add_sent(self.person, sent, begin)

    def context(self, now: datetime, queue: Iterable[QueuedMessage] = ()) -> RecipientContext:
        """The gate's context of the person."""
        person = self.person
        profile, account, held, urgent = person.profile, person.account, person.held, self._is_urgent(person, now)
        for other in person.accounts:
            held, urgent = (*held, *other.held), urgent or self._is_urgent(other, now)
        return RecipientContext(
            self._addresses(),
            self.consents_now,
            (*self.sent, *others) if (others := self.mailboxes.sent_to_others(person)) else self.sent,
            urgent,
            tuple(queue),
            stops=self.operations.stops,
            suppressed={
                channel: each.reason for channel, each in self.mailboxes.suppressions.of_person(person, now).items()
            },
            held=tuple([hold for hold in held if hold.until > now]) if held else (),
            talks=tuple([each for each in self.talks if each.until > now]) if self.talks else (),
            zone=self.zone(account.profile if account is not None else NO_FIELDS),
            accounts=frozenset([each.name for each in person.accounts]) if person.accounts else NO_ACCOUNTS,
            role=str(profile.get("role") or ""),
        )

    def _is_urgent(self, subject: SimulatedSubject, now: datetime) -> bool:
        return bool(subject.tickets) and bool(self.scenario.policy.urgent_ticket.open_of(subject.tickets, now))

    def facts_since(self, now: datetime) -> Since:
        """Since when each fact about the person and their present addresses holds."""
        suppressed = self.mailboxes.suppressions.of_person(self.person, now).items()
        return self.since | {("suppressed", channel): each.at for channel, each in suppressed}

    @property
    def consents_now(self) -> Consents:
        """What is in force for the person and at their mailboxes."""
        return self.mailboxes.consents(self.person.profile, self.consents)

    def zone(self, account: dict[str, object]) -> str:
        """The person's time zone, with the fields of an account."""
        return zone_of(self.person.profile, account, self.scenario.policy.timezone)

    def _addresses(self) -> dict[str, bool]:
        """Whether the person has an address, by channel."""
        addresses, profile = self.scenario.addresses, self.person.profile
        for channel, name in ADDRESS_FIELDS.items():
            if profile.get(name) and channel not in addresses:
                addresses = {**addresses, channel: True}
        return addresses
