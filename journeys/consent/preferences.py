"""What holds for a person, by channel and topic, and why; and what must be said so that what they wish for holds."""

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
"""The priority that the page speaks of: what is urgent or transactional may pass a general no (C6)."""


@dataclass(frozen=True, slots=True)
class PersonStatement:
    """What a person said of a place, where and when."""

    granted: bool
    source: str
    at: datetime


@dataclass(frozen=True, slots=True)
class EffectiveConsent:
    """Whether messages of a topic may come by a channel, and why, in a sentence."""

    channel: str
    topic: str
    allowed: bool
    why: str
    pending: bool = False


def effective_consents(
    policy: Policy,
    said: Mapping[ChannelTopic, PersonStatement],
    place: ChannelTopic,
    pending: frozenset[ChannelTopic] = frozenset(),
    titles: Mapping[str, str] | None = None,
) -> EffectiveConsent:
    """What holds of one place: the gate's own rule, in words. `titles` has the topics in people's."""
    channel, topic = place
    allowed = _allowed(policy, _consents(said), place)
    by = next((each for each in _around(place) if each in said and said[each].granted is allowed), None)
    if place in pending and not allowed:
        why = "waits for your confirmation: follow the link that was sent to you"
    elif by is None:
        why = "you have not chosen yet"
    else:
        verb = "said yes" if allowed else "said no"
        why = f"you {verb} to {_words(by, titles or {})} on {said[by].at:%-d %B %Y}"
    return EffectiveConsent(channel, topic, allowed, why, place in pending and not allowed)


def statements_to_make(
    policy: Policy, consents: Consents, wanted: Mapping[ChannelTopic, bool]
) -> list[ConsentStatement]:
    """What must be said so that each place holds as wanted.

    A general no stands above every narrow yes, so where one place below it is wanted it is taken back; whatever else it
    held back is then refused place by place. Nothing is said of what holds already.
    """
    now = dict(consents)
    told: list[ConsentStatement] = []
    blocked = [place for place, wish in wanted.items() if wish and not _allowed(policy, now, place)]
    for general in sorted({each for place in blocked for each in _around(place)[1:] if now.get(each) is False}):
        del now[general]
        told.append(ConsentStatement(*general, None))
    for place, wish in wanted.items():
        if _allowed(policy, now, place) is not wish:
            now[place] = wish
            told.append(ConsentStatement(*place, wish))
    return told


def apply_statements(consents: Consents, said: Iterable[ConsentStatement]) -> dict[ChannelTopic, bool]:
    """The consents after these were said, in order."""
    after = dict(consents)
    for each in said:
        if each.granted is None:
            after.pop((each.channel, each.topic), None)
        else:
            after[each.channel, each.topic] = each.granted
    return after


def is_stopped(consents: Consents) -> bool:
    """Whether the person has said no to everything."""
    return consents.get((ANY, ANY)) is False


def topics_in_order(declared: Sequence[str], found: Iterable[str]) -> list[str]:
    """Topics as they are shown: the declared ones first and in their order, then the others by name."""
    return [*declared, *sorted({each for each in found if each != ANY} - set(declared))]


def _allowed(policy: Policy, consents: Consents, place: ChannelTopic) -> bool:
    channel, topic = place
    return consent_refusal(policy, None if topic == ANY else topic, ORDINARY, channel, consents) is None


def _consents(said: Mapping[ChannelTopic, PersonStatement]) -> dict[ChannelTopic, bool]:
    return {place: each.granted for place, each in said.items()}


def _around(place: ChannelTopic) -> tuple[ChannelTopic, ...]:
    """A place and those that contain it, the nearest first."""
    channel, topic = place
    return tuple(dict.fromkeys((place, (ANY, topic), (channel, ANY), (ANY, ANY))))


def _words(place: ChannelTopic, titles: Mapping[str, str]) -> str:
    channel, topic = place
    what = "all messages" if topic == ANY else titles.get(topic, topic.replace("-", " ").replace("_", " "))
    return what if channel == ANY else f"{what} by {stated_consents(channel)}"


def stated_consents(channel: str) -> str:
    """A channel as people say it."""
    return {"email": "e-mail", "in_app": "messages in the app", "sms": "text message"}.get(
        channel, channel.replace("_", " ")
    )


def merged_consents(one: Consents, other: Consents) -> Mapping[tuple[str, str], bool]:
    """By (channel, topic), what holds for both together: a withdrawal wins, also a wide one over a narrow grant."""
    return {
        place: _said(one, place) is not False and _said(other, place) is not False for place in sorted({*one, *other})
    }


def _said(consents: Consents, place: tuple[str, str]) -> bool | None:
    """What one of them said of this place: of itself, or of the nearest that contains it."""
    channel, topic = place
    around = (place, (ANY, topic), (channel, ANY), (ANY, ANY))
    return next((consents[each] for each in around if each in consents), None)
