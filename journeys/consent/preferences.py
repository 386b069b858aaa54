"""Effective consents with their reasons, and the statements that lead to wanted ones.

The gate's rule decides the effective consent of a channel and topic; the narrowest statement behind it is its reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from journeys.consent.statements import ConsentStatement
from journeys.gate.consent import consent_refusal
from journeys.gate.policy import Policy
from journeys.gate.verdicts import ANY, Consents

ChannelTopic = tuple[str, str]
"""(channel, topic); either may be `*`."""
ORDINARY: Final = "lifecycle"
"""The priority of the preference page: urgent and transactional messages may pass a general opt-out (C6)."""
_CHANNEL_LABELS: Final = {"email": "e-mail", "in_app": "messages in the app", "sms": "text message"}


@dataclass(frozen=True, slots=True)
class PersonStatement:
    """A grant or refusal by a person, with its source and instant."""

    granted: bool
    source: str
    at: datetime


@dataclass(frozen=True, slots=True)
class EffectiveConsent:
    """Whether messages of a topic may be sent by a channel; `why` is a sentence for the person."""

    channel: str
    topic: str
    allowed: bool
    why: str
    pending: bool = False


def effective_consents(
    policy: Policy,
    statements: Mapping[ChannelTopic, PersonStatement],
    place: ChannelTopic,
    pending: frozenset[ChannelTopic] = frozenset(),
    titles: Mapping[str, str] | None = None,
) -> EffectiveConsent:
    """The effective consent of one channel and topic. `titles` are the topics' titles by name."""
    channel, topic = place
    allowed = _allowed(policy, _consents(statements), place)
    decisive = (wider for wider in _containing(place) if wider in statements and statements[wider].granted is allowed)
    decided_by = next(decisive, None)
    if place in pending and not allowed:
        why = "waits for your confirmation: follow the link that was sent to you"
    elif decided_by is None:
        why = "you have not chosen yet"
    else:
        verb = "said yes" if allowed else "said no"
        why = f"you {verb} to {_label(decided_by, titles or {})} on {statements[decided_by].at:%-d %B %Y}"
    return EffectiveConsent(channel, topic, allowed, why, place in pending and not allowed)


def statements_to_make(
    policy: Policy, consents: Consents, wanted: Mapping[ChannelTopic, bool]
) -> list[ConsentStatement]:
    """The statements that make each channel and topic as wanted; none for those that are already.

    A general opt-out overrides every narrower grant. If a topic below it is wanted, the opt-out is taken back, and all
    other channels and topics that it covered are refused one by one.
    """
    now = dict(consents)
    statements: list[ConsentStatement] = []
    blocked = [place for place, granted in wanted.items() if granted and not _allowed(policy, now, place)]
    for general in sorted({wider for place in blocked for wider in _containing(place)[1:] if now.get(wider) is False}):
        del now[general]
        statements.append(ConsentStatement(*general, None))
    for place, granted in wanted.items():
        if _allowed(policy, now, place) is not granted:
            now[place] = granted
            statements.append(ConsentStatement(*place, granted))
    return statements


def apply_statements(consents: Consents, statements: Iterable[ConsentStatement]) -> dict[ChannelTopic, bool]:
    """The consents after these statements, in order."""
    after = dict(consents)
    for statement in statements:
        if statement.granted is None:
            after.pop((statement.channel, statement.topic), None)
        else:
            after[statement.channel, statement.topic] = statement.granted
    return after


def is_stopped(consents: Consents) -> bool:
    """Whether the person has opted out of everything."""
    return consents.get((ANY, ANY)) is False


def topics_in_order(declared: Sequence[str], others: Iterable[str]) -> list[str]:
    """The declared topics in their order, then the others by name."""
    return [*declared, *sorted({topic for topic in others if topic != ANY} - set(declared))]


def merged_consents(first: Consents, second: Consents) -> Mapping[ChannelTopic, bool]:
    """The consents of two subjects that become one (U2): a withdrawal wins, also a wide one over a narrow grant."""
    return {
        place: _nearest(first, place) is not False and _nearest(second, place) is not False
        for place in sorted({*first, *second})
    }


def overlaps(one: ChannelTopic, other: ChannelTopic) -> bool:
    """Whether two channels and topics, either of which may be `*`, have one in common."""
    return all(mine in (ANY, its) or its == ANY for mine, its in zip(one, other, strict=True))


def channel_label(channel: str) -> str:
    """A channel's name for people."""
    return _CHANNEL_LABELS.get(channel, channel.replace("_", " "))


def _allowed(policy: Policy, consents: Consents, place: ChannelTopic) -> bool:
    channel, topic = place
    return consent_refusal(policy, None if topic == ANY else topic, ORDINARY, channel, consents) is None


def _consents(statements: Mapping[ChannelTopic, PersonStatement]) -> dict[ChannelTopic, bool]:
    return {place: statement.granted for place, statement in statements.items()}


def _nearest(consents: Consents, place: ChannelTopic) -> bool | None:
    return next((consents[wider] for wider in _containing(place) if wider in consents), None)


def _containing(place: ChannelTopic) -> tuple[ChannelTopic, ...]:
    """A channel and topic, and the wider ones that contain it, the nearest first."""
    channel, topic = place
    return tuple(dict.fromkeys((place, (ANY, topic), (channel, ANY), (ANY, ANY))))


def _label(place: ChannelTopic, titles: Mapping[str, str]) -> str:
    channel, topic = place
    topics = "all messages" if topic == ANY else titles.get(topic, topic.replace("-", " ").replace("_", " "))
    return topics if channel == ANY else f"{topics} by {channel_label(channel)}"
