"""Statements of consent in events: traits of `identify`, and signals that `consent.yaml` declares.

Traits: `consents: {email: {offers: false}}`, `consents: {in_app: false}` for every topic, and `unsubscribed: true`, the word
that the field's tools use for "stop everything". `null`, and `unsubscribed: false`, take back what was said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from journeys.consent.opt_out_keywords import OptKeyword, keyword_of
from journeys.consent.rules import CHANNELS, ConsentRules
from journeys.events.inbound import InboundEvent
from journeys.gate.verdicts import ANY
from journeys.language.signal_names import MESSAGE_REPLIED

TRAITS = frozenset({"consents", "unsubscribed"})
"""Said of consent, so never part of the profile, where it would only grow stale."""
_TOPIC = re.compile(r"[a-z][a-z0-9_-]{0,63}|\*")
LONGEST_WORDING = 2000


@dataclass(frozen=True, slots=True)
class ConsentStatement:
    """One yes (True), no (False), or what was said taken back (None)."""

    channel: str
    topic: str
    granted: bool | None


ADDRESS_FIELDS: Final[Mapping[str, str]] = {"email": "email", "sms": "phone"}
"""Channels whose addresses are people's own and can be suppressed: the field of the profile that has the address."""


@dataclass(frozen=True, slots=True)
class Bounced:
    """An address that could not be reached, or does not want to be. `address` None: the person's own."""

    channel: str
    address: str | None
    reason: str
    hard: bool


def statements_in(rules: ConsentRules, event: InboundEvent) -> list[ConsentStatement]:
    """Everything an event says, in its order. What is wrong with it is left out: `statement_faults` says what."""
    return [found for found in _read(rules, event) if isinstance(found, ConsentStatement)]


def statement_faults(rules: ConsentRules, event: InboundEvent) -> list[str]:
    """What an event says of consent that cannot be understood: it is kept in quarantine, and nothing is guessed."""
    return [found for found in _read(rules, event) if isinstance(found, str)]


def bounce_in(rules: ConsentRules, event: InboundEvent) -> Bounced | None:
    """The address a signal speaks of, if it is one that suppresses; one that names its channel speaks of that one."""
    rule = rules.suppress.get(event.name) if event.kind == "track" else None
    if rule is None:
        return None
    named = event.data.get("channel")
    channel = named if isinstance(named, str) and named else rule.channel
    if channel not in ADDRESS_FIELDS:
        return None
    address = event.data.get(rule.address)
    hard = rule.reason != "bounce" or event.data.get(rule.kind) in rule.hard
    reason = "complaint" if rule.reason == "complaint" else "hard_bounce" if hard else "soft_bounces"
    return Bounced(channel, address if isinstance(address, str) and address else None, reason, hard)


def wording(event: InboundEvent) -> str:
    """What the person was shown, as the sender tells in `context.consent.wording` or a track's `wording`."""
    told = (event.context or {}).get("consent")
    shown = told.get("wording") if isinstance(told, Mapping) else event.data.get("wording")
    return shown[:LONGEST_WORDING] if isinstance(shown, str) else ""


def answered_message(event: InboundEvent) -> str | None:
    """The message that an event says was answered: its key or number."""
    if event.name != MESSAGE_REPLIED:
        return None
    message = event.data.get("message")
    return str(message) if isinstance(message, str | int) and not isinstance(message, bool) else None


def keyword_in_reply(event: InboundEvent) -> OptKeyword | None:
    """The keyword that a reply consists of: then it is a statement of consent and no answer."""
    return keyword_of(str(event.data.get("text") or ""))


def _read(rules: ConsentRules, event: InboundEvent) -> Iterator[ConsentStatement | str]:
    if event.kind == "identify":
        yield from _from_traits(event.traits)
    elif event.kind == "track" and event.name in rules.signals:
        rule = rules.signals[event.name]
        channel = rule.channel or event.data.get("channel", ANY)
        topic = rule.topic or event.data.get("topic", ANY)
        yield _checked(
            "properties", channel, topic, event.data.get("granted") if rule.granted is None else rule.granted
        )


def _from_traits(traits: Mapping[str, Any]) -> Iterator[ConsentStatement | str]:
    given = traits.get("unsubscribed")
    if isinstance(given, bool):
        yield ConsentStatement(ANY, ANY, False if given else None)
    elif given is not None:
        yield "traits/unsubscribed must be true or false"
    consents = traits.get("consents")
    if consents is None:
        return
    if not isinstance(consents, Mapping):
        yield "traits/consents must be an object: channel, then topic, then true or false"
        return
    for channel, by_topic in consents.items():
        for topic, granted in (by_topic if isinstance(by_topic, Mapping) else {ANY: by_topic}).items():
            yield _checked("traits/consents", channel, topic, granted)


def _checked(where: str, channel: Any, topic: Any, granted: Any) -> ConsentStatement | str:
    if channel != ANY and channel not in CHANNELS:
        return f"{where}: {str(channel)[:64]!r} is no channel; there are {', '.join(CHANNELS)} and *"
    if not isinstance(topic, str) or not _TOPIC.fullmatch(topic):
        return f"{where}: {str(topic)[:64]!r} is no topic's name"
    if granted is not None and not isinstance(granted, bool):
        return f"{where}: {channel} {topic} must be true, false or null"
    return ConsentStatement(channel, topic, granted)
