"""Functions of the builder that make actions, one for each kind.

Arguments have the names of the YAML where Python allows them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Literal

from journeys.language.actions import Audience, ChannelName, CloseTask, Emit, Priority, Send, Set, Task

DurationLike = str | timedelta
"""A duration: ISO 8601, a CEL expression, or a timedelta."""


def iso(span: DurationLike) -> str:
    """A timedelta as ISO 8601; a text stays as it is. Raises ValueError for a negative one."""
    if isinstance(span, str):
        return span
    if span < timedelta():
        raise ValueError("a duration is never negative")
    hours, rest = divmod(span.seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    parts = [f"{hours}H" if hours else "", f"{minutes}M" if minutes else ""]
    if seconds or span.microseconds:
        parts.append(f"{seconds}.{span.microseconds:06d}".rstrip("0").rstrip(".") + "S")
    time = "".join(parts)
    days = f"{span.days}D" if span.days or not time else ""
    return f"P{days}" + (f"T{time}" if time else "")


def send(
    template: str,
    *,
    name: str | None = None,
    via: Sequence[ChannelName] = ("email",),
    to_roles: Sequence[str] = (),
    topic: str | None = None,
    priority: Priority | None = None,
    data: Mapping[str, str] | None = None,
    when: str | None = None,
    expires: DurationLike | None = None,
) -> Send:
    """Send a message; `to_roles` is `for` in the YAML."""
    return Send(
        send=template,
        name=name,
        via=tuple(via),
        for_=tuple(to_roles),
        topic=topic,
        priority=priority,
        data=dict(data or {}),
        when=when,
        expires=iso(expires) if expires is not None else None,
    )


def task(
    kind: str,
    *,
    name: str | None = None,
    owner: str | None = None,
    sla: DurationLike | None = None,
    within: DurationLike | None = None,
    escalate: Sequence[str] = (),
    data: Mapping[str, str] | None = None,
    when: str | None = None,
) -> Task:
    """Open a task."""
    return Task(
        task=kind,
        name=name,
        owner=owner,
        sla=iso(sla) if sla is not None else None,
        within=iso(within) if within is not None else None,
        escalate=tuple(escalate),
        data=dict(data or {}),
        when=when,
    )


def close(name: str, *, when: str | None = None) -> CloseTask:
    """Close an open task of this run by its action's name."""
    return CloseTask(close=name, when=when)


def assign(*, when: str | None = None, **variables: str) -> Set:
    """Set variables of the run: `set` in the YAML."""
    return Set(set=variables, when=when)


def emit(
    signal: str, *, for_each: str | None = None, data: Mapping[str, str] | None = None, when: str | None = None
) -> Emit:
    """Emit a signal to the subject."""
    return Emit(emit=signal, for_each=for_each, data=dict(data or {}), when=when)


def audience(name: str, change: Literal["add", "remove"] = "add", *, when: str | None = None) -> Audience:
    """Add the subject to an audience, or remove them."""
    return Audience(audience=name, change=change, when=when)
