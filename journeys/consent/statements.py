"""Statements of consent in events: traits of `identify`, and signals that `consent.yaml` declares.

Traits: `consents: {email: {offers: false}}`, `consents: {in_app: false}` for every topic, and `unsubscribed: true` for
every message, as marketing tools have it. `null`, and `unsubscribed: false`, take a statement back.

A statement that cannot be read and may be an opt-out is one, of everything that it can mean (C5). One that can only be a
grant is a fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from journeys.consent.opt_out_keywords import OptKeyword, keyword_of
from journeys.consent.rules import CHANNELS, ConsentRules, SuppressSignal
from journeys.events.inbound import InboundEvent
from journeys.gate.verdicts import ANY
from journeys.language.signal_names import MESSAGE_REPLIED

TRAITS = frozenset({"consents", "unsubscribed"})
"""Traits that state consent; they are never stored in the profile."""
_TOPIC = re.compile(r"[a-z][a-z0-9_-]{0,63}|\*")
_YES_WORDS: Final = frozenset({"true", "yes", "y", "on", "1", "1.0", "granted", "subscribed"})
_NO_WORDS: Final = frozenset({"false", "no", "n", "off", "0", "0.0"})
_MISSING: Final = "missing"
"""In place of a property that a signal lacks: what its sender meant cannot be read."""
MAX_WORDING = 2000
"""Characters of a wording that are stored."""


@dataclass(frozen=True, slots=True)
class ConsentStatement:
    """A grant (True), a refusal (False), or a statement taken back (None).

    `unreadable` says why a refusal was taken in its widest meaning.
    """

    channel: str
    topic: str
    granted: bool | None
    unreadable: str = ""


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
    """The statements of an event, in its order; what can only be a grant and cannot be read is left out."""
    return [item for item in _read(rules, event) if isinstance(item, ConsentStatement)]


def statement_faults(rules: ConsentRules, event: InboundEvent) -> list[str]:
    """Faults of an event's statements that can only be grants; such an event is quarantined."""
    return [item for item in _read(rules, event) if isinstance(item, str)]


@dataclass(frozen=True, slots=True)
class SenderRefused:
    """A failure that is about us: the channel, what the provider said, and the address that was written to, if it is named."""

    channel: str
    words: str
    address: str


def refusal_in(rules: ConsentRules, event: InboundEvent) -> SenderRefused | None:
    """The failure about us that an event reports, or None."""
    rule = rules.suppress.get(event.name) if event.kind == "track" else None
    if rule is None or rule.reason != "bounce" or event.data.get(rule.kind) not in rule.sender:
        return None
    return SenderRefused(
        _named_channel(event, rule), str(event.data.get("reason") or ""), str(event.data.get(rule.address) or "")
    )


def _named_channel(event: InboundEvent, rule: SuppressSignal) -> str:
    """A `channel` property overrides the rule's channel."""
    named = event.data.get("channel")
    return named if isinstance(named, str) and named else rule.channel


def bounce_in(rules: ConsentRules, event: InboundEvent) -> Bounced | None:
    """The address that an event suppresses, or None: nobody's, if the failure is about us."""
    rule = rules.suppress.get(event.name) if event.kind == "track" else None
    if rule is None or refusal_in(rules, event) is not None:
        return None
    channel = _named_channel(event, rule)
    if channel not in ADDRESS_FIELDS:
        return None
    address, kind = event.data.get(rule.address), event.data.get(rule.kind)
    hard = rule.reason != "bounce" or kind in rule.hard
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
        rule, data = rules.signals[event.name], event.data
        granted = data.get("granted", _MISSING) if rule.granted is None else rule.granted
        channel, topic = rule.channel or data.get("channel", ANY), rule.topic or data.get("topic", ANY)
        yield _stated("properties", channel, topic, granted)


def _from_traits(traits: Mapping[str, Any]) -> Iterator[ConsentStatement | str]:
    unsubscribed = traits.get("unsubscribed")
    if isinstance(unsubscribed, bool):
        yield ConsentStatement(ANY, ANY, False if unsubscribed else None)
    elif unsubscribed is not None:
        fault = "traits/unsubscribed must be true or false"
        yield fault if _word(unsubscribed) in _NO_WORDS else ConsentStatement(ANY, ANY, granted=False, unreadable=fault)
    consents = traits.get("consents")
    if isinstance(consents, Mapping):
        for channel, by_topic in consents.items():
            for topic, granted in (by_topic if isinstance(by_topic, Mapping) else {ANY: by_topic}).items():
                yield _stated("traits/consents", channel, topic, granted)
    elif consents is not None:
        fault = "traits/consents must be an object: channel, then topic, then true or false"
        yield fault if _is_grant(consents) else ConsentStatement(ANY, ANY, granted=False, unreadable=fault)


def _stated(where: str, channel: Any, topic: Any, granted: Any) -> ConsentStatement | str:
    """A statement of these words; what cannot be read of a refusal stands for every channel, or every topic."""
    faults = []
    if channel != ANY and channel not in CHANNELS:
        faults.append(f"{str(channel)[:64]!r} is not a channel; there are {', '.join(CHANNELS)} and *")
        channel = ANY
    if not isinstance(topic, str) or not _TOPIC.fullmatch(topic):
        faults.append(f"{str(topic)[:64]!r} is not a topic's name")
        topic = ANY
    if granted is not None and not isinstance(granted, bool):
        faults.append(f"{channel} {topic} must be true, false or null")
    if not faults:
        return ConsentStatement(channel, topic, granted)
    fault = f"{where}: {'; '.join(faults)}"
    is_refusal = granted is not None and not _is_grant(granted)
    return ConsentStatement(channel, topic, granted=False, unreadable=fault) if is_refusal else fault


def _is_grant(value: Any) -> bool:
    """Whether a value can only mean a grant."""
    return value is True or _word(value) in _YES_WORDS


def _word(value: Any) -> str:
    return str(value).strip().casefold() if isinstance(value, str | int | float) else ""
