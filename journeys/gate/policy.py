"""Policy: consent defaults, caps, cooldowns, hours, consolidation, surge brake.

A policy is one YAML file (`catalog/policy.yaml`), read by people who do not read code. `judge` applies it; nothing
here decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from journeys.calendar.durations import Duration
from journeys.calendar.timezones import zone_named
from journeys.gate.lengths import Length
from journeys.gate.quiet_hours import QuietHours, SendWindow
from journeys.language.actions import (
    CALM,
    PRESSING,
    ChannelName,
    Model,
    Name,
    Priority,
    SignalName,
    TemplateName,
    Text,
)
from journeys.tasks.team import working_time

TOGETHER = "digest/together"
"""The template of several messages that come as one."""


ADS: Final = "audience"
ConsentChannel = ChannelName | Literal["audience"]
"""What a person says yes or no to: whatever messages go by, and being shown ads."""


class ConsentDefault(Model):
    """What holds while a person has said nothing; the rule that names most wins, a topic before a channel (C5)."""

    channel: ConsentChannel | None = None
    topic: Name | None = None
    default: Literal["granted", "required"]
    exempt: tuple[Priority, ...] = ()


class Cap(Model):
    """At most `limit` messages within any rolling `window`, or in each day, week or month of the person's calendar.

    Counted over all journeys unless it names one (C2).
    """

    name: Name
    channel: ChannelName | None = None
    topic: Name | None = None
    journey: Name | None = None
    priorities: Annotated[tuple[Priority, ...], Field(min_length=1)] = CALM
    limit: Annotated[int, Field(ge=0, le=100_000)]
    window: Length | None = None
    calendar: Literal["day", "week", "month"] | None = None

    @model_validator(mode="after")
    def _one_window(self) -> Cap:
        if (self.window is None) == (self.calendar is None):
            raise ValueError(f"cap {self.name} needs either a rolling window (P7D) or a calendar (day, week, month)")
        return self

    def at_most(self) -> timedelta:
        """How far back it may look."""
        return self.window.at_most() if self.window is not None else _CALENDARS[self.calendar or "month"]


_CALENDARS: Mapping[str, timedelta] = {
    "day": timedelta(days=2), "week": timedelta(days=8), "month": timedelta(days=32),
}  # fmt: skip


class Cooldown(Model):
    """Time `between` two messages of the same kind (C2). Exempt priorities neither wait nor make others wait.

    Of those that wait for it a lesser priority gives way to a better one, unless `replaces` is false (C6).
    """

    name: Name
    channel: ChannelName | None = None
    topic: Name | None = None
    journey: Name | None = None
    between: Length
    replaces: bool = True
    exempt: tuple[Priority, ...] = PRESSING


class Consolidation(Model):
    """Messages of one priority by one channel that fall due within `window` of each other come as one, by `template` (C4)."""

    name: Name
    channel: ChannelName
    priorities: Annotated[tuple[Priority, ...], Field(min_length=1)] = CALM
    window: Length
    template: TemplateName = TOGETHER


class SurgeBrake(Model):
    """Holds a journey that sends `times` what it usually does in `over`, and more than `least`, until it is released."""

    times: Annotated[float, Field(gt=1, le=1_000)] = 5.0
    over: Length = Duration(0, timedelta(hours=1))
    usual: Length = Duration(0, timedelta(days=7))
    least: Annotated[int, Field(ge=1)] = 500

    def usual_number(self, before: int) -> float:
        """Messages that are usual in `over`, of a journey that sent so many in `usual` before it."""
        return before * (self.over.at_most() / self.usual.at_most())

    def is_surge(self, lately: int, before: int) -> bool:
        """Whether a journey is held that sent so many in `over`, and so many in `usual` before it."""
        return lately > self.least and lately > self.times * self.usual_number(before)


class UrgentTicket(Model):
    """While an urgent ticket of the person or their account is open, these wait and ask again every `recheck` (C6).

    A ticket is known by `ticket_id` and is urgent by its `priority`.
    """

    defers: tuple[Priority, ...] = CALM
    recheck: Length = Duration(0, timedelta(hours=1))
    opened_by: tuple[SignalName, ...] = ("ticket_opened", "ticket_reopened")
    resolved_by: tuple[SignalName, ...] = ("ticket_resolved", "ticket_closed")
    urgent: tuple[str, ...] = ("urgent",)

    def open_after(self, before: frozenset[str], name: str, data: Mapping[str, Any]) -> frozenset[str]:
        """The urgent tickets that are open after a signal."""
        ticket = data.get("ticket_id")
        if not isinstance(ticket, str | int):
            return before
        if name in self.opened_by and data.get("priority") in self.urgent:
            return before | {str(ticket)}
        return before - {str(ticket)} if name in self.resolved_by else before


def _working_text(value: str) -> str:
    working_time(value)
    return value


class ReplyPolicy(Model):
    """What an answer does: its run is quiet until a person has closed the conversation, or `quiet` after their last word.

    `task` is what its owner is given to do: the account's manager where one is known, else `owner`, else the template's. It is
    due `within` so much of their working time, and then goes to the next in `escalate`, who has as long (C10).
    """

    quiet: Length = Duration(0, timedelta(days=14))
    task: Name = "reply"
    owner: Name | None = None
    within: Annotated[str, AfterValidator(_working_text), WithJsonSchema({"type": "string", "format": "duration"})] = (
        "PT8H"
    )
    escalate: tuple[Name, ...] = ()


class Policy(Model):
    """Every rule of the gate. `state_exempt` may go out with product state unknown (H8).

    `topics` are those of which the rules speak before any journey does, each in a person's words.
    `timezone` is that of people of whom nothing better is known; who belongs to several accounts gets what these say
    alike once in `once_across_accounts`.
    """

    topics: dict[Name, Text] = {}
    consent: tuple[ConsentDefault, ...] = ()
    caps: tuple[Cap, ...] = ()
    cooldowns: tuple[Cooldown, ...] = ()
    quiet_hours: tuple[QuietHours, ...] = ()
    send_windows: tuple[SendWindow, ...] = ()
    consolidate: tuple[Consolidation, ...] = ()
    brake: SurgeBrake | None = None
    timezone: str = "UTC"
    once_across_accounts: Length = Duration(0, timedelta(days=1))
    urgent_ticket: UrgentTicket = UrgentTicket()
    answered: ReplyPolicy = ReplyPolicy()
    state_exempt: tuple[Priority, ...] = PRESSING
    expires_after: Length | None = None

    @field_validator("caps", "cooldowns", "quiet_hours", "send_windows", "consolidate")
    @classmethod
    def _by_name(cls, rules: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(sorted(rules, key=lambda rule: rule.name))

    @field_validator("timezone")
    @classmethod
    def _exists(cls, name: str) -> str:
        if zone_named(name) is None:
            raise ValueError(f"{name!r} is no time zone: give a name of the IANA database, such as Europe/Vienna")
        return name

    @model_validator(mode="after")
    def _names_differ(self) -> Policy:
        """A rule's name stands in the reasons, so it must say which one it is."""
        named: tuple[Cap | Cooldown | QuietHours | SendWindow | Consolidation, ...] = (
            *self.caps, *self.cooldowns, *self.quiet_hours, *self.send_windows, *self.consolidate,
        )  # fmt: skip
        names = [rule.name for rule in named]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two rules have the name {', '.join(twice)}")
        places = [(rule.channel, priority) for rule in self.consolidate for priority in rule.priorities]
        if len(set(places)) < len(places):
            raise ValueError("two consolidation rules speak of the same channel and priority")
        return self

    @field_validator("consent")
    @classmethod
    def _defaults_differ(cls, rules: tuple[ConsentDefault, ...]) -> tuple[ConsentDefault, ...]:
        places = [(rule.channel, rule.topic) for rule in rules]
        if len(set(places)) < len(places):
            raise ValueError("two consent defaults speak of the same channel and topic")
        return rules


def load_policy(mapping: Mapping[str, Any] | None) -> Policy:
    """A policy from a parsed file; an empty one allows all. Raises pydantic's ValidationError with every fault."""
    return Policy.model_validate(mapping or {})


def horizon(policy: Policy) -> timedelta:
    """How far back the messages sent to a person must be read for `judge` to be right."""
    lengths = [policy.once_across_accounts.at_most(), *(cap.at_most() for cap in policy.caps)]
    return max((*lengths, *(rule.between.at_most() for rule in policy.cooldowns)))
