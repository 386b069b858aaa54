"""Statements of consent in events: traits of `identify`, and signals that `consent.yaml` declares.

Traits: `consents: {email: {offers: false}}`, `consents: {in_app: false}` for every topic, and `unsubscribed: true` for
every message, as marketing tools have it. `null`, and `unsubscribed: false`, take a statement back.
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
"""Traits that state consent; they are never stored in the profile."""
_TOPIC = re.compile(r"[a-z][a-z0-9_-]{0,63}|\*")
MAX_WORDING = 2000
"""Characters of a wording that are stored."""


@dataclass(frozen=True, slots=True)
class ConsentStatement:
    """A grant (True), a refusal (False), or a statement taken back (None)."""

    channel: str
    topic: str
    granted: bool | None


ADDRESS_FIELDS: Final[Mapping[str, str]] = {"email": "email", "sms": "phone"}
"""Channels whose addresses can be suppressed, with the profile field of the address."""


@dataclass(frozen=True, slots=True)
class Bounced:
    """An address to suppress after a bounce or complaint; `address` None is the person's own."""

    channel: str
    address: str | None
    reason: str
    hard: bool


def statements_in(rules: ConsentRules, event: InboundEvent) -> list[ConsentStatement]:
    """The statements of an event, in its order; invalid ones are left out (`statement_faults`)."""
    return [item for item in _read(rules, event) if isinstance(item, ConsentStatement)]


def statement_faults(rules: ConsentRules, event: InboundEvent) -> list[str]:
    """Faults of an event's statements; such an event is quarantined."""
    return [item for item in _read(rules, event) if isinstance(item, str)]


def bounce_in(rules: ConsentRules, event: InboundEvent) -> Bounced | None:
    """The address that an event suppresses, or None. A `channel` property overrides the rule's channel."""
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
    """The text that the person was shown: `context.consent.wording`, or a track's `wording`."""
    consent = (event.context or {}).get("consent")
    shown = consent.get("wording") if isinstance(consent, Mapping) else event.data.get("wording")
    return shown[:MAX_WORDING] if isinstance(shown, str) else ""


def answered_message(event: InboundEvent) -> str | None:
    """The key or number of the message that an event replies to, or None."""
    if event.name != MESSAGE_REPLIED:
        return None
    message = event.data.get("message")
    return str(message) if isinstance(message, str | int) and not isinstance(message, bool) else None


def keyword_in_reply(event: InboundEvent) -> OptKeyword | None:
    """The keyword that is the whole reply, or None. A keyword is a statement of consent and opens no conversation."""
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
    unsubscribed = traits.get("unsubscribed")
    if isinstance(unsubscribed, bool):
        yield ConsentStatement(ANY, ANY, False if unsubscribed else None)
    elif unsubscribed is not None:
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
        return f"{where}: {str(channel)[:64]!r} is not a channel; there are {', '.join(CHANNELS)} and *"
    if not isinstance(topic, str) or not _TOPIC.fullmatch(topic):
        return f"{where}: {str(topic)[:64]!r} is not a topic's name"
    if granted is not None and not isinstance(granted, bool):
        return f"{where}: {channel} {topic} must be true, false or null"
    return ConsentStatement(channel, topic, granted)
