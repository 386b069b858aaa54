"""Assign a task to a person: routing rules, absences, deputies and capacity (C10).

Pure and total: the open tasks and the last turn are given, and the reason is a sentence.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from journeys.calendar.holidays import holidays_in
from journeys.calendar.working_time import NO_TIME, WorkingHours
from journeys.tasks.team import Team, TeamMember, working_time

LIKE: Final = 0.75
"""Similarity (`difflib`) from which a name is taken for a misspelt one: two swapped letters of four have it."""


@dataclass(frozen=True, slots=True)
class AssignmentRequest:
    """A task to assign at `at`; `named` is the owner that the journey names: a person, a team or any other word."""

    task: str
    named: str
    at: datetime
    account_owner: Any = None


@dataclass(frozen=True, slots=True)
class AssignmentResult:
    """The owner of a task: a person, or its team if nobody is available; `why` is a sentence for a person.

    `by_turn`: assigned by `round_robin`, so the team's turn moves on.
    """

    owner: str
    team: str | None
    why: str
    by_turn: bool = False


@dataclass(frozen=True, slots=True)
class Roster:
    """A team with its calendar: working hours, absences and deadlines."""

    team: Team = field(default_factory=Team)

    def knows(self, name: str) -> bool:
        """Whether a name is a person or a team; a task of any other owner is not routed."""
        return name in self.team.people or name in self.team.teams

    def near(self, name: str) -> str | None:
        """The person or team that a name probably misspells; None if it is one, or is like none."""
        if self.knows(name):
            return None
        close = difflib.get_close_matches(name, [*self.team.people, *self.team.teams], n=1, cutoff=LIKE)
        return close[0] if close else None

    def team_of(self, named: str) -> str:
        """The team whose turns and loads decide a task of this owner; the name itself if there is none."""
        if named in self.team.teams or named not in self.team.people:
            return named
        return _team_of(self, named) or named

    def hours(self, owner: str) -> WorkingHours:
        """The working hours of a person; of a team or an unknown name, those of the company."""
        person = self.team.people.get(owner, TeamMember())
        country = person.holidays or self.team.holidays

        def is_off(day: date) -> bool:
            absent = any(absence.from_ <= day <= absence.to for absence in person.away)
            return absent or (country is not None and day in holidays_in(country, day.year))

        return WorkingHours(ZoneInfo(person.zone or self.team.zone), person.hours or self.team.hours, is_off)

    def away_until(self, name: str, at: datetime) -> date | None:
        """The last day of a person's current absence, in their own zone; None if they are available."""
        person = self.team.people[name]
        today = at.astimezone(ZoneInfo(person.zone or self.team.zone)).date()
        return max((absence.to for absence in person.away if absence.from_ <= today <= absence.to), default=None)

    # -- deadlines -------------------------------------------------------------------------------------------------

    def due(self, owner: str, since: datetime, within: str) -> datetime | None:
        """The instant at which the owner has worked for `within` (ISO 8601); None if they never work again."""
        return self.hours(owner).after(since, working_time(within))

    def moved(self, before: str, after: str, due: datetime, now: datetime, until: datetime) -> datetime | None:
        """A deadline continued at `until` by the owner `after`: the working time that `before` had left at `now`."""
        remaining = self.hours(before).between(now, due) if due > now else NO_TIME
        return self.hours(after).after(until, remaining)

    def remind_at(
        self, task: str, owner: str, due: datetime | None, since: datetime, *, working: bool
    ) -> datetime | None:
        """When to remind the owner before the deadline, in working time if the deadline is; None for no reminder."""
        lead = self.team.reminder(task)
        if lead is None or due is None:
            return None
        if not working:
            return max(since, due - lead)
        hours = self.hours(owner)
        at = hours.after(since, max(NO_TIME, hours.between(since, due) - lead))
        return None if at is None else min(at, due)


def assign_task(
    roster: Roster, request: AssignmentRequest, loads: Mapping[str, int], last: str | None = None
) -> AssignmentResult:
    """Assign a task. `loads` are open tasks by owner, `last` is the person who had the team's last turn."""
    if request.named in roster.team.people:
        return _to_person(roster, request, loads)
    if request.named in roster.team.teams:
        return _Search(roster, request, loads, last, request.named).result()
    return AssignmentResult(request.named, None, "as the journey says")


def _to_person(roster: Roster, request: AssignmentRequest, loads: Mapping[str, int]) -> AssignmentResult:
    name, why = request.named, f"the journey names {request.named}"
    until = roster.away_until(name, request.at)
    if until is None:
        return AssignmentResult(name, _team_of(roster, name), why)
    why += f", who is away until {until}"
    deputy = deputy_of(roster, name, request.at)
    if deputy is not None:
        return AssignmentResult(deputy, _team_of(roster, deputy), f"{why}: {deputy} stands in")
    team = _team_of(roster, name)
    if team is None:
        return AssignmentResult(name, None, f"{why}, and nobody stands in")
    result = _Search(roster, request, loads, None, team, ("load",)).result()
    return AssignmentResult(result.owner, team, f"{why}, and nobody stands in: {result.why}")


def deputy_of(roster: Roster, name: str, at: datetime) -> str | None:
    """The first available deputy of an absent person, deputies of deputies included; None if there is none."""
    seen, candidates = {name}, list(_deputies(roster, name, at))
    while candidates:
        deputy = candidates.pop(0)
        if deputy in seen or deputy not in roster.team.people:
            continue
        if roster.away_until(deputy, at) is None:
            return deputy
        seen.add(deputy)
        candidates += _deputies(roster, deputy, at)
    return None


def _deputies(roster: Roster, name: str, at: datetime) -> Iterator[str]:
    person = roster.team.people[name]
    today = at.astimezone(ZoneInfo(person.zone or roster.team.zone)).date()
    yield from (absence.deputy for absence in person.away if absence.deputy and absence.from_ <= today <= absence.to)
    yield from person.deputies


def _team_of(roster: Roster, name: str) -> str | None:
    return next(iter(roster.team.people[name].team), None)


class _Search:
    """Tries the routing rules of a team in order; each that assigns nobody adds its reason."""

    def __init__(
        self,
        roster: Roster,
        request: AssignmentRequest,
        loads: Mapping[str, int],
        last: str | None,
        team: str,
        rules: tuple[str, ...] = (),
    ) -> None:
        self.roster, self.request, self.loads, self.last, self.team = roster, request, loads, last, team
        kind = roster.team.tasks.get(request.task)
        self.rules = rules or (kind.by if kind else ()) or roster.team.teams[team].by
        self.reasons: list[str] = []

    def result(self) -> AssignmentResult:
        available = [name for name in self.roster.team.members(self.team) if self._is_available(name)]
        free = [name for name in available if self._has_capacity(name)]
        for rule in self.rules:
            name = self._by_rule(rule, free)
            if name is not None:
                return AssignmentResult(name, self.team, "; ".join(self.reasons), by_turn=rule == "round_robin")
        name = self._least_loaded(available)
        if name is not None:
            self.reasons.append(f"nobody in {self.team} has capacity")
            return AssignmentResult(name, self.team, "; ".join(self.reasons))
        self.reasons.append(f"nobody in {self.team} is available, so the task waits for the team")
        return AssignmentResult(self.team, self.team, "; ".join(self.reasons))

    def _by_rule(self, rule: str, free: list[str]) -> str | None:
        if rule == "owner":
            return self._account_owner()
        return self._next_in_turn(free) if rule == "round_robin" else self._least_loaded(free)

    def _account_owner(self) -> str | None:
        """The account's owner or their deputy, if they are in this team and have capacity."""
        name = self.roster.team.person_called(self.request.account_owner)
        if name is None or self.team not in self.roster.team.people[name].team:
            self.reasons.append(f"the account has no owner in {self.team}")
            return None
        reason = f"{name} owns the account"
        until = self.roster.away_until(name, self.request.at)
        assignee = name if until is None else deputy_of(self.roster, name, self.request.at)
        if until is not None:
            deputy = f": {assignee} stands in" if assignee else " and nobody stands in"
            reason += f", but is away until {until}{deputy}"
        if assignee is not None and not self._has_capacity(assignee):
            reason, assignee = f"{reason}; {self._without_capacity(assignee)}", None
        self.reasons.append(reason)
        return assignee

    def _next_in_turn(self, free: list[str]) -> str | None:
        if not free:
            return None
        name = next((other for other in free if self.last is not None and other > self.last), free[0])
        self.reasons.append(f"it is {name}'s turn in {self.team}")
        return name

    def _least_loaded(self, names: Iterable[str]) -> str | None:
        """The person with the smallest load relative to capacity; of equals the first by name."""
        people = self.roster.team.people
        name = min(names, key=lambda name: (self._load(name) / people[name].capacity, name), default=None)
        if name is not None:
            self.reasons.append(
                f"{name} has the lowest load in {self.team}: {self._load(name)} of {people[name].capacity}"
            )
        return name

    def _is_available(self, name: str) -> bool:
        return self.roster.away_until(name, self.request.at) is None

    def _has_capacity(self, name: str) -> bool:
        return self._load(name) < self.roster.team.people[name].capacity

    def _load(self, name: str) -> int:
        return self.loads.get(name, 0)

    def _without_capacity(self, name: str) -> str:
        return f"{name} has no capacity: {self._load(name)} of {self.roster.team.people[name].capacity}"
