"""Team: people with their hours, teams with routing rules, kinds of tasks (C10).

The model of `catalog/team.yaml`; `assignment.py` applies it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, StringConstraints, WithJsonSchema, model_validator

from journeys.calendar.durations import parse_duration
from journeys.calendar.holidays import holidays_in
from journeys.calendar.timezones import zone_named
from journeys.calendar.working_time import WHOLE_DAY, MinuteSpan
from journeys.content.variants import Sender
from journeys.language.actions import Model, Name, Text, listed
from journeys.language.parsing import read_model
from journeys.language.problems import Path, problem, sorted_problems
from journeys.language.source import YamlSource

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPAN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")
Week = tuple[tuple[MinuteSpan, ...], ...]
RoutingMethod = Literal["owner", "load", "round_robin"]


def _week(value: Any) -> Any:
    """`{mon-thu: "09:00-17:30", fri: ["09:00-12:00", "13:00-15:00"]}` as spans of minutes by weekday, Monday first."""
    if not isinstance(value, Mapping):
        return value
    week: dict[int, tuple[MinuteSpan, ...]] = {}
    for name, hours in value.items():
        spans = tuple(sorted(_span(item) for item in listed(hours)))
        if any(before[1] > after[0] for before, after in pairwise(spans)):
            raise ValueError(f"the hours of {name} overlap")
        for day in _days(str(name)):
            if day in week:
                raise ValueError(f"{DAYS[day]} has hours twice")
            week[day] = spans
    if not any(week.values()):
        raise ValueError("the week has no working hours")
    return tuple(week.get(day, ()) for day in range(7))


def _days(name: str) -> range:
    first, _, last = name.partition("-")
    if first not in DAYS or (last or first) not in DAYS or DAYS.index(last or first) < DAYS.index(first):
        raise ValueError(f"{name!r} is not a weekday such as mon or a range such as mon-fri")
    return range(DAYS.index(first), DAYS.index(last or first) + 1)


def _span(value: Any) -> MinuteSpan:
    match = _SPAN.fullmatch(value) if isinstance(value, str) else None
    begin, end = (int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])) if match else (0, 0)
    if not 0 <= begin < end <= WHOLE_DAY:
        raise ValueError(f"{value!r} is not a time span such as 09:00-17:00")
    return begin, end


def _length(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError("a duration is written as text, such as PT2H")  # noqa: TRY004 -- pydantic's protocol
    return working_time(value)


def working_time(text: str) -> timedelta:
    """Parse hours and minutes of work, such as `PT4H`. Raises ValueError for days and more: their length differs."""
    duration = parse_duration(text)
    if duration.months or duration.exact <= timedelta(0) or not text.startswith("PT"):
        raise ValueError(f"{text!r} is not working time in hours and minutes, such as PT4H")
    return duration.exact


def _zone(value: Any) -> str:
    if not isinstance(value, str) or zone_named(value) is None:
        raise ValueError(f"{value!r} is not a time zone such as Europe/Berlin")
    return value


def _country(value: Any) -> Any:
    if isinstance(value, str):
        holidays_in(value, 2026)
    return value


_HOURS_SCHEMA = {"type": "object", "additionalProperties": {"type": ["string", "array"], "items": {"type": "string"}}}
WeekHours = Annotated[Week, BeforeValidator(_week), WithJsonSchema(_HOURS_SCHEMA)]
Zone = Annotated[str, BeforeValidator(_zone)]
Country = Annotated[str, BeforeValidator(_country)]
"""A country by ISO 3166-1, or a part of it by ISO 3166-2: `DE`, `DE-BY`, `US-CA`."""
TaskHours = Annotated[
    timedelta,
    BeforeValidator(_length),
    PlainSerializer(lambda length: f"PT{length.total_seconds():.0f}S"),
    WithJsonSchema({"type": "string", "format": "duration"}),
]
_NINE_TO_FIVE: Week = (((9 * 60, 17 * 60),),) * 5 + ((), ())


class Absence(Model):
    """An absence, both days included; `deputy` takes over tasks during it."""

    from_: Annotated[date, Field(alias="from")]
    to: date
    deputy: Name | None = None

    @model_validator(mode="after")
    def _forwards(self) -> Absence:
        if self.to < self.from_:
            raise ValueError(f"the absence ends on {self.to}, before it begins")
        return self


class TeamMember(Model):
    """A person who does tasks. Fields left out have the company's values.

    `known_as` are their names in other systems. `email` receives their reminders. `signs` is the sender of mails to
    accounts that they own (`from: owner`). `capacity` is the number of open tasks they can have.
    """

    email: Annotated[str, StringConstraints(max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")] | None = None
    team: Annotated[tuple[Name, ...], BeforeValidator(listed, json_schema_input_type=Name | list[Name])] = ()
    known_as: tuple[Text, ...] = ()
    signs: Sender | None = None
    zone: Zone | None = None
    hours: WeekHours | None = None
    holidays: Country | None = None
    away: tuple[Absence, ...] = ()
    deputies: tuple[Name, ...] = ()
    capacity: Annotated[int, Field(ge=1, le=10_000)] = 25


class RoutingRule(Model):
    """Routing methods of a team in order; the first that finds an available person with capacity assigns the task."""

    by: Annotated[
        tuple[RoutingMethod, ...],
        BeforeValidator(listed, json_schema_input_type=RoutingMethod | list[RoutingMethod]),
        Field(min_length=1),
    ] = ("owner", "load")


class TaskKind(Model):
    """Rules for all tasks of one kind. Without `outcomes` any word closes it; `by` overrides the team's."""

    outcomes: tuple[Name, ...] = ()
    remind: TaskHours | None = None
    by: Annotated[
        tuple[RoutingMethod, ...], BeforeValidator(listed, json_schema_input_type=RoutingMethod | list[RoutingMethod])
    ] = ()


class Team(Model):
    """The content of `catalog/team.yaml`. `owner` is the account field that names the account's owner."""

    zone: Zone = "UTC"
    hours: WeekHours = _NINE_TO_FIVE
    holidays: Country | None = None
    owner: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")] = "owner"
    remind: TaskHours | None = None
    people: dict[Name, TeamMember] = {}
    teams: dict[Name, RoutingRule] = {}
    tasks: dict[Name, TaskKind] = {}

    def members(self, team: str) -> tuple[str, ...]:
        """The members of a team, by name."""
        return tuple(sorted(name for name, person in self.people.items() if team in person.team))

    def person_called(self, name: Any) -> str | None:
        """The person of a name, or of a name in another system; None if there is none."""
        if not isinstance(name, str):
            return None
        if name in self.people:
            return name
        return next((key for key, person in self.people.items() if name in person.known_as), None)

    def addresses(self, name: str) -> tuple[str, ...]:
        """Candidate addresses of a person, best first; a name in another system may be an address."""
        person = self.people.get(name)
        if person is None:
            return ()
        own = (person.email, person.signs.reply_to if person.signs is not None else None)
        return (*(address for address in own if address is not None), *person.known_as)

    def outcomes(self, task: str) -> tuple[str, ...]:
        """The outcomes that may close a task of this kind; empty if any may."""
        return self.tasks[task].outcomes if task in self.tasks else ()

    def reminder(self, task: str) -> timedelta | None:
        """How long before the deadline the owner of a task is reminded; None for no reminder."""
        kind = self.tasks.get(task)
        return kind.remind if kind is not None and kind.remind is not None else self.remind


def read_team(text: str | bytes) -> tuple[Team | None, YamlSource]:
    """A team from YAML or JSON, or None with every problem at its line in `source.problems`. Never raises."""
    team, source = read_model(text, Team)
    if team is not None:
        source.problems = sorted_problems(
            problem(code, source.written(path), text, at=source.position(path)) for code, path, text in _faults(team)
        )
    return (team if not source.problems else None), source


TeamProblem = tuple[str, Path, str]


def _faults(team: Team) -> Iterator[TeamProblem]:
    known: dict[str, str] = {}
    for name, person in team.people.items():
        at: Path = ("people", name)
        yield from _person(team, name, person)
        for index, other in enumerate((name, *person.known_as)):
            if known.setdefault(other, name) != name:
                path = (*at, "known_as", index - 1) if index else at
                yield "T903", path, f"{other} is also a name of {known[other]}"
        if name in team.teams:
            yield "T903", at, f"{name} is also the name of a team"
    for name in team.teams:
        if not team.members(name):
            yield "T904", ("teams", name), f"the team {name} has no members"


def _person(team: Team, name: str, person: TeamMember) -> Iterator[TeamProblem]:
    at: Path = ("people", name)
    for index, team_name in enumerate(person.team):
        if team_name not in team.teams:
            yield "T901", (*at, "team", index), f"{team_name} is not one of the teams"
    deputies: list[tuple[Path, str]] = [(("deputies", index), deputy) for index, deputy in enumerate(person.deputies)]
    for index, absence in enumerate(person.away):
        if absence.deputy:
            deputies.append((("away", index, "deputy"), absence.deputy))
    for path, deputy in deputies:
        if deputy not in team.people or deputy == name:
            yield "T902", (*at, *path), f"{deputy} cannot be a deputy of {name}"
