"""People and accounts of a simulation by name, and merges of visitors (U2).

Merges follow `store/events/merges.py`: of each field the newer statement counts, runs go on, and of a journey and case that
both are in, the user's run stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from journeys.consent.precedence import merged_statements
from journeys.consent.preferences import merged_consents
from journeys.decision.entry import PastRun, reentry_refusal
from journeys.events.ids.identities import link_of
from journeys.fields.origins import ACCOUNT_ORIGIN, is_newer_account, newer_fields
from journeys.gate.tickets import merged
from journeys.simulation.gate import InMemoryGate
from journeys.simulation.lanes import Lanes
from journeys.simulation.reactions.replies import Replies
from journeys.simulation.recording import RecordedEvent
from journeys.simulation.subjects import ACCOUNT, SimulatedRun, SimulatedSubject
from journeys.tasks.board import TaskBoard


@dataclass(frozen=True, slots=True)
class FoundSubject:
    """The subject of an event; `merged` is a visitor who turns out to be this known user."""

    subject: SimulatedSubject
    merged: SimulatedSubject | None = None


class SubjectRegistry:
    """People by user id and by anonymous id, and accounts by id; who is new is created."""

    def __init__(self) -> None:
        self.users: dict[str, SimulatedSubject] = {}
        self.visitors: dict[str, SimulatedSubject] = {}
        self.accounts: dict[str, SimulatedSubject] = {}
        self._anonymous_ids: dict[SimulatedSubject, list[str]] = {}
        """The keys of `visitors` by person, so that a merge does not search all of them."""

    def __iter__(self) -> Iterator[SimulatedSubject]:
        """Every person and account once, people first."""
        return iter(dict.fromkeys((*self.users.values(), *self.visitors.values(), *self.accounts.values())))

    def account(self, name: str) -> SimulatedSubject:
        return self.accounts.get(name) or self.accounts.setdefault(name, SimulatedSubject(name, "account"))

    def visitor(self, name: str) -> SimulatedSubject:
        return self.visitors.get(name) or self._name_visitor(name, SimulatedSubject(name, "user"))

    def subject_of(self, event: RecordedEvent) -> FoundSubject:
        """The person or account that an event is about."""
        if event.subject == "user":
            return self.user(event.who, event.visitor)
        return FoundSubject(self.visitor(event.who) if event.subject == "visitor" else self.account(event.who))

    def user(self, name: str, visitor: str = "") -> FoundSubject:
        """A user, by the rules of `link_of` with the visitor who is named beside them."""
        person, before = self.users.get(name), self.visitors.get(visitor) if visitor else None
        if not visitor:
            return FoundSubject(person or self._new_user(name))
        match link_of(person, before, visitor_is_user=before is not None and before.is_known):
            case "create":
                person = self._name_visitor(visitor, self._new_user(name))
            case "name_visitor":
                assert person is not None
                self._name_visitor(visitor, person)
            case "name_user":
                assert before is not None
                person = self.users[name] = before
                person.name, person.is_known = name, True
            case "new_user":
                person = self._new_user(name)
            case "merge":
                assert person is not None
                assert before is not None
                for anonymous_id in self._anonymous_ids.pop(before, ()):
                    self._name_visitor(anonymous_id, person)
                return FoundSubject(person, before)
            case "none":
                assert person is not None
        return FoundSubject(person)

    def _name_visitor(self, anonymous_id: str, person: SimulatedSubject) -> SimulatedSubject:
        self.visitors[anonymous_id] = person
        self._anonymous_ids.setdefault(person, []).append(anonymous_id)
        return person

    def _new_user(self, name: str) -> SimulatedSubject:
        person = self.users[name] = SimulatedSubject(name, "user")
        person.is_known = True
        return person


# -- merges ------------------------------------------------------------------------------------------------------------


def merge_people(gone: SimulatedSubject, into: SimulatedSubject) -> frozenset[str]:
    """Give a visitor's fields, memberships, tickets and holds to the user; all fields are news to the runs that come along."""
    changed = frozenset({ACCOUNT}) if into.account is not gone.account else frozenset[str]()
    for membership in gone.accounts:
        into.accounts.setdefault(membership)
        membership.members = _replaced(membership.members, gone, into)
    _merge_account(gone, into)
    newer = newer_fields(into.origins, gone.origins, into.profile, gone.profile)
    into.change_fields(newer)
    into.origins.update({name: gone.origins[name] for name in newer if name in gone.origins})
    into.earlier += gone.earlier
    for ticket, times in gone.tickets.items():
        known = into.tickets.get(ticket)
        into.tickets = {**into.tickets, ticket: times if known is None else merged(times, known)}
    into.held = into.held or gone.held
    return changed | set(into.profile)


def _merge_account(gone: SimulatedSubject, into: SimulatedSubject) -> None:
    """Give a visitor's account to the user, if it is newer than theirs."""
    moves = into.account is not gone.account and is_newer_account(
        into.account, into.origins, gone.account, gone.origins
    )
    if gone.account is not None:
        gone.account.followers = _replaced(gone.account.followers, gone, into if moves else None)
    if not moves:
        return
    if into.account is not None:
        into.account.followers = _replaced(into.account.followers, into, None)
    into.account = gone.account
    if (origin := gone.origins.get(ACCOUNT_ORIGIN)) is not None:
        into.origins[ACCOUNT_ORIGIN] = origin


def _replaced(
    people: dict[SimulatedSubject, None], gone: SimulatedSubject, into: SimulatedSubject | None
) -> dict[SimulatedSubject, None]:
    """People with one in the place of another, unless they have a place already; or without that one."""
    stays = into is None or into in people
    kept = [None if person is gone and stays else into if person is gone else person for person in people]
    return dict.fromkeys([person for person in kept if person is not None])


def merge_runs(
    gone: SimulatedSubject,
    into: SimulatedSubject,
    past: Callable[[SimulatedRun], PastRun],
    lanes: Lanes,
    at: datetime,
) -> None:
    """Put a visitor's runs into the user's lane, and end those that `entry.again` forbids beside the user's own."""
    staying = set(into.open)
    for key, runs in gone.runs.items():
        for run in runs:
            run.subject = into
        into.runs[key] = [*into.runs.get(key, ()), *runs]
    into.open = sorted((*into.open, *gone.open), key=lambda run: run.number)
    gone.runs, gone.open = {}, []
    for runs in into.runs.values():
        came = [run for run in runs if run.is_open and run not in staying]
        before = [past(run) for run in runs if not run.is_open or run in staying] if came else []
        if came and reentry_refusal(came[0].chart, before, at):
            for run in came:
                lanes.add(into, "merged", "", at, {}, None, target=run)


def merge_gates(gone: InMemoryGate, into: InMemoryGate, at: datetime) -> None:
    """Give a visitor's messages, consents, suppressions and conversations to the user; of consents a withdrawal wins."""
    for deferred in gone.queue:
        deferred.gate = into
    into.queue = sorted((*into.queue, *gone.queue), key=lambda deferred: deferred.number)
    into.sent = [*gone.sent, *into.sent]
    mine, theirs = into.recipient, gone.recipient
    mine.mailboxes.move(gone.person, into.person)
    merged = merged_consents(theirs.consents, mine.consents)
    for place in sorted({*theirs.newest, *merged}):
        of_both = theirs.newest.get(place, {}), mine.newest.get(place, {})
        mine.keep_statements(place, merged_statements(*of_both, merged.get(place), at), at)
    mine.pending = {**theirs.pending, **mine.pending}
    mine.sent = (*theirs.sent, *mine.sent)
    runs = {conversation.run for conversation in mine.talks}
    mine.talks = (*mine.talks, *(each for each in theirs.talks if each.run not in runs))
    mine.since = {**theirs.since, **mine.since}
    gone.queue = []


def merge_work(
    gone: SimulatedSubject, into: SimulatedSubject, board: TaskBoard, replies: Replies, into_gate: InMemoryGate
) -> None:
    """Give a visitor's tasks and conversations to the user, except a conversation of a run in which the user has one."""
    board.move_scope(gone, into)
    has = {conversation.run for conversation in replies.conversations if conversation.gate is into_gate}
    for conversation in replies.conversations:
        if conversation.gate.person is gone and conversation.run not in has:
            conversation.gate = into_gate
