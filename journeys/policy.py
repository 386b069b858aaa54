"""What a company allows itself to send, as data: consent defaults, caps, cooldowns and the silence of urgent tickets.

A policy is one YAML file (`catalog/policy.yaml`), read by people who do not read code. `judge` applies it; nothing
here decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, field_validator

from journeys.definition import ChannelName, Model, Name, Priority, SignalName
from journeys.durations import Duration, parse_duration

CALM: tuple[Priority, ...] = ("lifecycle", "promotional")
"""What may wait. Urgent support and transactional messages go first (C6), so no rule holds them unless it names them."""
PRESSING: tuple[Priority, ...] = ("urgent_support", "transactional")


def _length(value: Any) -> Duration:
    if isinstance(value, Duration):
        return value
    if not isinstance(value, str):
        raise ValueError("a duration is written as text, such as P7D or PT24H")  # noqa: TRY004 -- pydantic's protocol
    duration = parse_duration(value)
    if duration.roughly() <= timedelta(0):
        raise ValueError(f"{value!r} is no time at all")
    return duration


def _written(duration: Duration) -> str:
    months = f"{duration.months}M" if duration.months else ""
    seconds = duration.exact.total_seconds()
    return f"P{months}" + (f"T{seconds:.6f}".rstrip("0").rstrip(".") + "S" if seconds or not months else "")


Length = Annotated[
    Duration,
    BeforeValidator(_length),
    PlainSerializer(_written),
    WithJsonSchema({"type": "string", "format": "duration"}),
]


class ConsentDefault(Model):
    """What holds while a person has said nothing; the rule that names most wins, a topic before a channel (C5)."""

    channel: ChannelName | None = None
    topic: Name | None = None
    default: Literal["granted", "required"]
    exempt: tuple[Priority, ...] = ()


class Cap(Model):
    """At most `limit` messages within any rolling `window`, counted over all journeys (C2)."""

    name: Name
    channel: ChannelName | None = None
    topic: Name | None = None
    priorities: Annotated[tuple[Priority, ...], Field(min_length=1)] = CALM
    limit: Annotated[int, Field(ge=0, le=100_000)]
    window: Length


class Cooldown(Model):
    """Time `between` two messages of the same kind (C2). Exempt priorities neither wait nor make others wait."""

    name: Name
    channel: ChannelName | None = None
    topic: Name | None = None
    between: Length
    exempt: tuple[Priority, ...] = PRESSING


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


class Policy(Model):
    """Every rule of the gate. `state_exempt` may go out with product state unknown (H8)."""

    consent: tuple[ConsentDefault, ...] = ()
    caps: tuple[Cap, ...] = ()
    cooldowns: tuple[Cooldown, ...] = ()
    urgent_ticket: UrgentTicket = UrgentTicket()
    state_exempt: tuple[Priority, ...] = PRESSING
    expires_after: Length | None = None

    @field_validator("caps", "cooldowns")
    @classmethod
    def _by_name(cls, rules: tuple[Cap | Cooldown, ...]) -> tuple[Cap | Cooldown, ...]:
        names = [rule.name for rule in rules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two rules have the name {', '.join(twice)}")
        return tuple(sorted(rules, key=lambda rule: rule.name))

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
    lengths = [*(cap.window for cap in policy.caps), *(rule.between for rule in policy.cooldowns)]
    return max((length.at_most() for length in lengths), default=timedelta(0))
