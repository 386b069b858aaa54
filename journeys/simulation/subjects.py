"""People and accounts of a simulation: fields, memberships, lanes and runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

from journeys.consent.statements import TRAITS
from journeys.decision.chart import Chart
from journeys.decision.draft import RunDraft
from journeys.decision.entry import EarlierSignal
from journeys.decision.state import RunState
from journeys.fields.origins import ACCOUNT_ORIGIN, FieldOrigin, newer_traits
from journeys.gate.tickets import TicketTimes
from journeys.gate.verdicts import Hold

RowFacts = dict[str, dict[str, Any]]
"""By scope, the fields of a subject as of a row of its lane. Fields are replaced when they change, never changed in place."""
LEFT: Final = "account_left"
"""The signal by which a person leaves an account (`store/people/memberships.py`)."""
UNCHANGED: Final[frozenset[str]] = frozenset()
NO_FIELDS: Final[dict[str, Any]] = {}
ACCOUNT: Final = "account"
"""Among the changed fields of a person: they belong to another account now, or to none."""


def recorded_origin(at: datetime) -> FieldOrigin:
    """The origin of recorded fields: recorded events have one instant, and are accepted in its order."""
    return FieldOrigin(at, at, "recorded")


class SimulatedRun:
    """A run with its state and its next due timer.

    `number` is its place among all runs in the order in which they were opened, `entered` the number of the row that opened
    it, `facts` the fields that it has received.
    """

    __slots__ = (
        "case", "chart", "draft", "due", "ended_at", "entered", "epoch", "facts", "identity", "name", "number",
        "subject",
    )  # fmt: skip

    def __init__(
        self, chart: Chart, case: str, epoch: int, subject: SimulatedSubject, number: int = 0, entered: int = 0
    ) -> None:
        self.chart, self.case, self.epoch, self.subject = chart, case, epoch, subject
        self.number, self.entered = number, entered
        self.name = f"{chart.key}/{case or '-'}/{epoch}"
        self.identity = f"{chart.key}/{subject.name}/{case or '-'}/{epoch}"
        """Its name with that of the subject it began with, unique in the simulation."""
        self.draft = RunDraft(chart, RunState())
        """Its state between decisions, which are made in it: a frozen state for each of them would cost a tenth of all."""
        self.due: datetime | None = None
        self.ended_at: datetime | None = None
        self.facts: RowFacts | None = None

    @property
    def is_open(self) -> bool:
        return self.draft.outcome is None

    @property
    def state(self) -> RunState:
        """Its state as a frozen value."""
        return replace(self.draft.as_state(), timers=dict(self.draft.timers))


class SimulatedSubject:
    """A person or an account; `scope` is that of its own fields.

    `accounts` are those that a person belongs to, `account` the one they joined last; `members` of an account are in the order
    in which they joined. `facts` are the fields as of the last row of the lane, since `facts_at`.
    """

    __slots__ = (
        "_current", "account", "accounts", "earlier", "facts", "facts_at", "followers", "held", "is_known", "kind", "members",
        "name", "open", "origins", "profile", "runs", "scope", "tickets",
    )  # fmt: skip

    def __init__(self, name: str, kind: Literal["user", "account"]) -> None:
        self.name, self.kind = name, kind
        self.scope: Literal["profile", "account"] = "profile" if kind == "user" else "account"
        self.profile: dict[str, Any] = NO_FIELDS
        self.origins: dict[str, FieldOrigin] = {}
        """By field the origin of its value, or of its removal (`journeys/fields/origins.py`)."""
        self.account: SimulatedSubject | None = None
        self.accounts: dict[SimulatedSubject, None] = {}
        self.members: dict[SimulatedSubject, None] = {}
        self.followers: dict[SimulatedSubject, None] = {}
        """The members whose account it is, in the order in which they were put into it last: their lanes get its rows."""
        self.runs: dict[tuple[str, str], list[SimulatedRun]] = {}
        self.open: list[SimulatedRun] = []
        self.earlier: list[EarlierSignal] = []
        """Its own signals of late that may keep a run from beginning."""
        self.tickets: Mapping[str, TicketTimes] = {}
        self.held: tuple[Hold, ...] = ()
        self.is_known = kind == "account"
        """Whether a person has a user id; one without is a visitor."""
        self._current: RowFacts = {self.scope: NO_FIELDS}
        self.facts: RowFacts | None = None
        self.facts_at: datetime | None = None

    def forget(self) -> None:
        """Drop the references to runs, accounts and members, which refer back."""
        self.runs, self.open = {}, []
        self.account, self.accounts, self.members, self.followers = None, {}, {}, {}

    # -- fields ----------------------------------------------------------------------------------------------------

    def update_fields(self, traits: Mapping[str, Any], origin: FieldOrigin) -> frozenset[str]:
        """Take over the traits that are newer; the names of the fields that changed."""
        if not traits:
            return UNCHANGED
        traits = {name: value for name, value in traits.items() if name not in TRAITS}
        newer = newer_traits(self.origins, self.profile, traits, origin)
        self.origins.update(dict.fromkeys(newer, origin))
        return self.change_fields(newer)

    def change_fields(self, values: Mapping[str, Any]) -> frozenset[str]:
        """Change fields, whatever their origins, of which null forgets one; the names of those that changed."""
        known = self.profile
        changed = {name: value for name, value in values.items() if known.get(name) != value}
        if not changed:
            return UNCHANGED
        fields = {**known, **changed}
        if None in changed.values():
            fields = {name: value for name, value in fields.items() if value is not None}
        self.profile = fields
        return frozenset(changed)

    def current_facts(self) -> RowFacts:
        """The fields of the subject as they are now, of a person with those of their account; the same object while equal."""
        facts, account = self._current, self.account
        if account is not None:
            if facts.get("account") is not account.profile or facts["profile"] is not self.profile:
                facts = self._current = {"profile": self.profile, "account": account.profile}
        elif len(facts) > 1 or facts[self.scope] is not self.profile:
            facts = self._current = {self.scope: self.profile}
        return facts

    def receive(self, facts: RowFacts, at: datetime) -> None:
        """Take in the fields of a row of the lane.

        A row of a person without an account says nothing of one: what an earlier row said of it still holds.
        """
        has_more = self.facts is not None and len(self.facts) > len(facts)
        self.facts = {**(self.facts or {}), **facts} if has_more else facts
        self.facts_at = at

    def row_facts(self, account: SimulatedSubject | None, changed: frozenset[str]) -> tuple[RowFacts, RowFacts]:
        """The fields of a row, and of an entry: who has no account enters with that of the `account` that an event names."""
        facts = self.current_facts()
        if self.kind == "account" or self.account is not None:
            return facts, facts
        if ACCOUNT in changed:
            facts = {**facts, "account": NO_FIELDS}  # they have left it: its fields apply no more
        return facts, {"account": account.profile, **facts} if account is not None else facts

    # -- earlier signals -------------------------------------------------------------------------------------------

    def remember(self, signal: EarlierSignal, longest: timedelta) -> None:
        """Keep a signal for entries that look back at it, and forget those from more than the `longest` time before it."""
        since = signal.at - longest
        self.earlier = [*(kept for kept in self.earlier if kept.at >= since), signal]

    def earlier_signals(self) -> list[EarlierSignal]:
        """What an entry looks back at: its own signals, and an account's members' too."""
        return [*self.earlier, *(signal for member in self.followers for signal in member.earlier)]

    # -- memberships -----------------------------------------------------------------------------------------------

    def join(self, account: SimulatedSubject, origin: FieldOrigin) -> bool:
        """Put a person into an account, which is theirs from now on; whether it was not."""
        self.accounts.setdefault(account)
        account.members.setdefault(self)
        self.origins[ACCOUNT_ORIGIN] = origin
        if self.account is account:
            return False
        if self.account is not None:
            del self.account.followers[self]
        self.account = account
        account.followers[self] = None
        return True

    def leave(self, account: SimulatedSubject, origin: FieldOrigin, *, by_name: bool) -> bool:
        """Take a person out of an account; whether it was theirs, so that they have none now.

        An event that does not name the account ends only its being theirs: they remain a member, as in the store.
        """
        if by_name:
            self.accounts.pop(account, None)
            account.members.pop(self, None)
        if self.account is not account:
            return False
        self.origins[ACCOUNT_ORIGIN] = origin
        del account.followers[self]
        self.account = None
        return True

    def with_role(self, roles: Iterable[str]) -> list[SimulatedSubject]:
        """The members of an account who have one of these roles, in the order in which they joined."""
        wanted = set(roles)
        return [member for member in self.members if member.profile.get("role") in wanted]


class AcceptedEvent(NamedTuple):
    """An event with its subject and the account that it names; `changed` are fields that a merge before it has changed.

    `historical`: its sender tells it as history. `implied` are fields that only its context gives.
    """

    subject: SimulatedSubject
    account: SimulatedSubject | None
    kind: Literal["signal", "profile", "account"]
    name: str
    data: Mapping[str, Any]
    changed: frozenset[str] = UNCHANGED
    historical: bool = False
    implied: Mapping[str, Any] = {}


def change_fields(
    event: AcceptedEvent, account: SimulatedSubject | None, origin: FieldOrigin
) -> tuple[frozenset[str], frozenset[str]]:
    """Apply an event to the fields and the account of its subject; the changed fields of the subject and the account."""
    subject, changed = event.subject, event.changed
    if event.kind == "profile":
        changed |= subject.update_fields(event.implied, origin._replace(is_implied=True))
        return subject.update_fields(event.data, origin) | changed, UNCHANGED
    if account is None:
        return changed, UNCHANGED
    if event.kind == "account":
        has_moved = account is not subject and subject.join(account, origin)
        of_account = account.update_fields(event.data, origin)
        of_subject = of_account if account is subject else {ACCOUNT} if has_moved else UNCHANGED
        return changed | of_subject, of_account
    if event.name == LEFT and subject.leave(account, origin, by_name=event.account is not None):
        changed |= {ACCOUNT}
    return changed, UNCHANGED
