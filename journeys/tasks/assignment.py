"""Who gets a task, and why: the journey's word, the team's rules, who is there, and who has room. Pure (C10)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from journeys.calendar.holidays import holidays_in
from journeys.calendar.working_time import NOTHING, WorkingHours
from journeys.tasks.team import Team, TeamMember, working_time


@dataclass(frozen=True, slots=True)
class AssignmentRequest:
    """Work that looks for somebody: `named` is who the journey says, a person, a team or any other word."""

    task: str
    named: str
    at: datetime
    account_owner: Any = None


@dataclass(frozen=True, slots=True)
class AssignmentResult:
    """Who has it now. A task that waits for its whole team is the team's own. `why` is a sentence for a person.

    `by_turn`: it was their turn, which has now been taken; whoever gets it in another way keeps theirs.
    """

    owner: str
    team: str | None
    why: str
    by_turn: bool = False


@dataclass(frozen=True, slots=True)
class Roster:
    """The team on a calendar: who is there, and until when something is due."""

    team: Team = field(default_factory=Team)

    def knows(self, name: str) -> bool:
        """Whether a task's owner is a person or a team of ours; any other word routes nothing."""
        return name in self.team.people or name in self.team.teams

    def hours(self, owner: str) -> WorkingHours:
        """When a person works; a team or a stranger works when the company does."""
        person = self.team.people.get(owner, TeamMember())
        country = person.holidays or self.team.holidays

        def is_off(day: date) -> bool:
            on_leave = any(each.from_ <= day <= each.to for each in person.away)
            return on_leave or (country is not None and day in holidays_in(country, day.year))

        return WorkingHours(ZoneInfo(person.zone or self.team.zone), person.hours or self.team.hours, is_off)

    def away_until(self, name: str, at: datetime) -> date | None:
        """The last day of the absence that somebody is in, in their own zone; None when they are there."""
        person = self.team.people[name]
        today = at.astimezone(ZoneInfo(person.zone or self.team.zone)).date()
        return max((each.to for each in person.away if each.from_ <= today <= each.to), default=None)

    # -- deadlines -------------------------------------------------------------------------------------------------

    def due(self, owner: str, since: datetime, within: str) -> datetime | None:
        """When so much of the owner's working time has passed; None when they never work again."""
        return self.hours(owner).after(since, working_time(within))

    def moved(self, before: str, after: str, due: datetime, now: datetime, until: datetime) -> datetime | None:
        """A deadline in working time that is taken up again at `until`, perhaps by somebody else: what was left is left."""
        left = self.hours(before).between(now, due) if due > now else NOTHING
        return self.hours(after).after(until, left)

    def remind_at(
        self, task: str, owner: str, due: datetime | None, since: datetime, *, working: bool
    ) -> datetime | None:
        """When to remind the owner: so long before it is due, in working time if the deadline is."""
        before = self.team.reminder(task)
        if before is None or due is None:
            return None
        if not working:
            return max(since, due - before)
        hours = self.hours(owner)
        at = hours.after(since, max(NOTHING, hours.between(since, due) - before))
        return None if at is None else min(at, due)


def assign_task(
    roster: Roster, ask: AssignmentRequest, loads: Mapping[str, int], last: str | None = None
) -> AssignmentResult:
    """Who gets it. `loads` are open tasks by owner, `last` is who had the team's last turn. Total."""
    if ask.named in roster.team.people:
        return _to_person(roster, ask, loads)
    if ask.named in roster.team.teams:
        return _Search(roster, ask, loads, last, ask.named).found()
    return AssignmentResult(ask.named, None, "as the journey says")


def _to_person(roster: Roster, ask: AssignmentRequest, loads: Mapping[str, int]) -> AssignmentResult:
    name, why = ask.named, f"{ask.named} is named"
    until = roster.away_until(name, ask.at)
    if until is None:
        return AssignmentResult(name, _team_of(roster, name), why)
    why += f", but away until {until}"
    deputy = deputy_of(roster, name, ask.at)
    if deputy is not None:
        return AssignmentResult(deputy, _team_of(roster, deputy), f"{why}: {deputy} stands in")
    team = _team_of(roster, name)
    if team is None:
        return AssignmentResult(name, None, f"{why}, and nobody stands in")
    found = _Search(roster, ask, loads, None, team, ("load",)).found()
    return AssignmentResult(found.owner, team, f"{why}, and nobody stands in: {found.why}")


def deputy_of(roster: Roster, name: str, at: datetime) -> str | None:
    """The first deputy who is there, deputies of deputies included."""
    seen, asked = {name}, list(_deputies(roster, name, at))
    while asked:
        each = asked.pop(0)
        if each in seen or each not in roster.team.people:
            continue
        if roster.away_until(each, at) is None:
            return each
        seen.add(each)
        asked += _deputies(roster, each, at)
    return None


def _deputies(roster: Roster, name: str, at: datetime) -> Iterator[str]:
    person = roster.team.people[name]
    today = at.astimezone(ZoneInfo(person.zone or roster.team.zone)).date()
    yield from (each.deputy for each in person.away if each.deputy and each.from_ <= today <= each.to)
    yield from person.deputies


def _team_of(roster: Roster, name: str) -> str | None:
    return next(iter(roster.team.people[name].team), None)


class _Search:
    """The team's ways in order; each that finds nobody leaves its reason."""

    def __init__(
        self,
        roster: Roster,
        ask: AssignmentRequest,
        loads: Mapping[str, int],
        last: str | None,
        team: str,
        ways: tuple[str, ...] = (),
    ) -> None:
        self.roster, self.ask, self.loads, self.last, self.team = roster, ask, loads, last, team
        kind = roster.team.tasks.get(ask.task)
        self.ways = ways or (kind.by if kind else ()) or roster.team.teams[team].by
        self.reasons: list[str] = []

    def found(self) -> AssignmentResult:
        there = [name for name in self.roster.team.members(self.team) if self._is_there(name)]
        free = [name for name in there if self._has_room(name)]
        for way in self.ways:
            name = self._owner() if way == "owner" else self._next(free) if way == "round_robin" else self._least(free)
            if name is not None:
                return AssignmentResult(name, self.team, "; ".join(self.reasons), by_turn=way == "round_robin")
        name = self._least(there)
        if name is not None:
            self.reasons.append(f"everybody in {self.team} is full")
            return AssignmentResult(name, self.team, "; ".join(self.reasons))
        self.reasons.append(f"nobody in {self.team} is there, so it waits for the whole team")
        return AssignmentResult(self.team, self.team, "; ".join(self.reasons))

    def _owner(self) -> str | None:
        """The account's owner, or who stands in for them, if they are of this team and have room."""
        name = self.roster.team.person_called(self.ask.account_owner)
        if name is None or self.team not in self.roster.team.people[name].team:
            self.reasons.append(f"the account has no owner in {self.team}")
            return None
        said = f"{name} owns the account"
        until = self.roster.away_until(name, self.ask.at)
        taker = name if until is None else deputy_of(self.roster, name, self.ask.at)
        if until is not None:
            said += f", but is away until {until}" + (f": {taker} stands in" if taker else " and nobody stands in")
        if taker is not None and not self._has_room(taker):
            said, taker = f"{said}; {self._full(taker)}", None
        self.reasons.append(said)
        return taker

    def _next(self, free: list[str]) -> str | None:
        if not free:
            return None
        name = next((each for each in free if self.last is not None and each > self.last), free[0])
        self.reasons.append(f"it is {name}'s turn in {self.team}")
        return name

    def _least(self, names: Iterable[str]) -> str | None:
        """Who has the smallest part of what they can do; of equals the first by name."""
        people = self.roster.team.people
        name = min(names, key=lambda each: (self._load(each) / people[each].capacity, each), default=None)
        if name is not None:
            self.reasons.append(
                f"{name} has the least to do in {self.team}: {self._load(name)} of {people[name].capacity}"
            )
        return name

    def _is_there(self, name: str) -> bool:
        return self.roster.away_until(name, self.ask.at) is None

    def _has_room(self, name: str) -> bool:
        return self._load(name) < self.roster.team.people[name].capacity

    def _load(self, name: str) -> int:
        return self.loads.get(name, 0)

    def _full(self, name: str) -> str:
        return f"{name} is full with {self._load(name)} of {self.roster.team.people[name].capacity}"
