"""Policy: consent defaults, caps, cooldowns, hours, consolidation, surge brake.

The model of `catalog/policy.yaml`; `judge` applies it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, field_validator, model_validator

from journeys.calendar.durations import Duration
from journeys.calendar.lengths import Length
from journeys.calendar.timezones import zone_named
from journeys.content.link_domains import LinkDomain
from journeys.gate.quiet_hours import QuietHours, SendWindow
from journeys.gate.tickets import UrgentTicket
from journeys.language.actions import (
    CALM,
    PRESSING,
    ChannelName,
    Model,
    Name,
    Priority,
    TemplateName,
    Text,
)
from journeys.tasks.team import working_time

TOGETHER = "digest/together"
"""The default template of a digest."""


ADS: Final = "audience"
ConsentChannel = ChannelName | Literal["audience"]
"""A channel of messages, or advertising audiences: consent is by channel and topic."""


class ConsentDefault(Model):
    """Consent where the person has stated none; the most specific rule applies, a topic before a channel (C5)."""

    channel: ConsentChannel | None = None
    topic: Name | None = None
    default: Literal["granted", "required"]
    exempt: tuple[Priority, ...] = ()


class Cap(Model):
    """At most `limit` messages in any rolling `window`, or in each day, week or month of the person's calendar (C2).

    All journeys are counted unless the cap names one.
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
        """The greatest length of the window."""
        return self.window.at_most() if self.window is not None else _CALENDARS[self.calendar or "month"]


_CALENDARS: Mapping[str, timedelta] = {
    "day": timedelta(days=2), "week": timedelta(days=8), "month": timedelta(days=32),
}  # fmt: skip


class Cooldown(Model):
    """The least time `between` two messages that it covers (C2). Exempt priorities neither wait nor make others wait.

    Of messages that wait for it, one of lower priority gives way to one of higher, unless `replaces` is false (C6).
    """

    name: Name
    channel: ChannelName | None = None
    topic: Name | None = None
    journey: Name | None = None
    between: Length
    replaces: bool = True
    exempt: tuple[Priority, ...] = PRESSING


class Consolidation(Model):
    """Messages of one priority and channel, due within `window` of each other, become one of `template` (C4)."""

    name: Name
    channel: ChannelName
    priorities: Annotated[tuple[Priority, ...], Field(min_length=1)] = CALM
    window: Length
    template: TemplateName = TOGETHER


class PressingMessages(Model):
    """Messages that may have a priority that most rules do not cover: these templates, and all of these topics."""

    templates: tuple[TemplateName, ...] = ()
    topics: tuple[Name, ...] = ()


class SurgeBrake(Model):
    """Stops a journey that sends more than `least` in `over`, and `times` its usual number, until it is released."""

    times: Annotated[float, Field(gt=1, le=1_000)] = 5.0
    over: Length = Duration(0, timedelta(hours=1))
    usual: Length = Duration(0, timedelta(days=7))
    least: Annotated[int, Field(ge=1)] = 500

    def usual_number(self, before: int) -> float:
        """The usual number of messages in `over`, of a journey that sent `before` in the time `usual` before it."""
        return before * (self.over.at_most() / self.usual.at_most())

    def is_surge(self, lately: int, before: int) -> bool:
        """Whether a journey is stopped that sent `lately` in `over`, and `before` in the time `usual` before it."""
        return lately > self.least and lately > self.times * self.usual_number(before)


def _working_text(value: str) -> str:
    working_time(value)
    return value


class ReplyPolicy(Model):
    """After a reply, its run sends nothing until the conversation is closed, or until `quiet` after the last reply.

    `task` is opened for the account's owner if known, else for `owner`, else for the template's owner. It is due
    `within` working time; then it passes to the next in `escalate`, with the same time (C10).
    """

    quiet: Length = Duration(0, timedelta(days=14))
    task: Name = "reply"
    owner: Name | None = None
    within: Annotated[str, AfterValidator(_working_text), WithJsonSchema({"type": "string", "format": "duration"})] = (
        "PT8H"
    )
    escalate: tuple[Name, ...] = ()


class Policy(Model):
    """All rules of the gate. Messages of the priorities `state_exempt` are sent with product state unknown (H8).

    `topics` declares topics, each with a description. `timezone` is that of people without a known zone. A person of
    several accounts receives a template from one of them in `once_across_accounts`. Links in messages lead to
    `link_domains` only; without them to hosts that the author of a template has written out. `pressing` has the messages
    that may be `transactional` or `urgent_support`: the checker refuses others. What is sent to an address counts for
    everybody who has it, except at `shared_mailboxes`.
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
    link_domains: tuple[LinkDomain, ...] | None = None
    pressing: dict[Literal["urgent_support", "transactional"], PressingMessages] = {}
    shared_mailboxes: tuple[Text, ...] = ()

    @cached_property
    def memo(self) -> dict[tuple[str, ...], Any]:
        """Results that depend on the policy and a few words alone, kept by their owners."""
        return {}

    def may_be(self, priority: Priority, template: str, topic: str | None) -> bool:
        """Whether a message of this template and topic may have a priority."""
        if priority not in PRESSING:
            return True
        allowed = [messages for name, messages in self.pressing.items() if name == priority]
        return any(template in messages.templates or topic in messages.topics for messages in allowed)

    @field_validator("caps", "cooldowns", "quiet_hours", "send_windows", "consolidate")
    @classmethod
    def _by_name(cls, rules: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(sorted(rules, key=lambda rule: rule.name))

    @field_validator("timezone")
    @classmethod
    def _exists(cls, name: str) -> str:
        if zone_named(name) is None:
            raise ValueError(f"{name!r} is not a time zone: give a name of the IANA database, such as Europe/Vienna")
        return name

    @model_validator(mode="after")
    def _names_differ(self) -> Policy:
        """Reasons name rules, so a name must identify one."""
        named: tuple[Cap | Cooldown | QuietHours | SendWindow | Consolidation, ...] = (
            *self.caps, *self.cooldowns, *self.quiet_hours, *self.send_windows, *self.consolidate,
        )  # fmt: skip
        names = [rule.name for rule in named]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two rules have the name {', '.join(twice)}")
        keys = [(rule.channel, priority) for rule in self.consolidate for priority in rule.priorities]
        if len(set(keys)) < len(keys):
            raise ValueError("two consolidation rules have the same channel and priority")
        return self

    @field_validator("consent")
    @classmethod
    def _defaults_differ(cls, rules: tuple[ConsentDefault, ...]) -> tuple[ConsentDefault, ...]:
        keys = [(rule.channel, rule.topic) for rule in rules]
        if len(set(keys)) < len(keys):
            raise ValueError("two consent defaults have the same channel and topic")
        return rules


def load_policy(mapping: Mapping[str, Any] | None) -> Policy:
    """A policy from a parsed file; an empty one allows all. Raises pydantic's ValidationError with every fault."""
    return Policy.model_validate(mapping or {})


def horizon(policy: Policy) -> timedelta:
    """The time back for which `judge` needs the messages sent to a person."""
    lengths = [policy.once_across_accounts.at_most(), *(cap.at_most() for cap in policy.caps)]
    return max((*lengths, *(rule.between.at_most() for rule in policy.cooldowns)))
