"""ConsentRules: topics, confirmations, consent signals and suppression signals.

The model of `catalog/consent.yaml`; what consent means for a message is decided by `gate/consent`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field, StringConstraints, model_validator

from journeys.calendar.durations import parse_duration
from journeys.calendar.lengths import Length
from journeys.gate.consent import consent_refusal
from journeys.gate.policy import ADS, ConsentChannel, Policy
from journeys.gate.verdicts import ANY
from journeys.language.actions import ChannelName, Model, Name, SignalName, Text
from journeys.language.parsing import read_model
from journeys.language.source import YamlSource
from journeys.tokens.address_hash import AddressHash
from journeys.tokens.signed_links import Links

TopicOrAny = Annotated[str, StringConstraints(pattern=r"^([a-z][a-z0-9_-]{0,63}|\*)$")]
ChannelOrAny = ConsentChannel | Literal["*"]
MESSAGED: Final[tuple[str, ...]] = get_args(ChannelName)
CHANNELS: Final = (*MESSAGED, ADS)
DEV_BASE: Final = "http://127.0.0.1:8400"
DEV_KEY: Final = "dev-link-key"
"""A public key: links signed with it are for loopback only (`worker/settings.py`)."""
SuppressedFor = Literal["hard_bounce", "bounce", "complaint"]


class TopicShown(Model):
    """The title and description of a topic on the preference page; one that is not `shown` is not on it."""

    title: Text
    description: Text | None = None
    shown: bool = True


class NeedsConfirming(Model):
    """A grant of this channel and topic needs a confirmation by link; left out, every channel or every topic."""

    channel: ConsentChannel | None = None
    topic: Name | None = None

    def overlaps(self, channel: str, topic: str) -> bool:
        """Whether a grant of a channel and topic (either may be `*`) includes some of this rule."""
        return (self.channel is None or channel in (ANY, self.channel)) and (
            self.topic is None or topic in (ANY, self.topic)
        )


class ConsentSignal(Model):
    """A signal that grants or withdraws consent. A field left out is the property of the same name."""

    channel: ChannelOrAny | None = None
    topic: TopicOrAny | None = None
    granted: bool | None = None


class SuppressSignal(Model):
    """A signal that suppresses an address. A `bounce` is hard, or about us (`sender`), by the property `kind`; else soft.

    `address` is the property with the address; without it, the person's own is meant. A bounce about us suppresses nobody.
    """

    channel: ChannelName
    reason: SuppressedFor
    address: Name = "address"
    kind: Name = "kind"
    hard: tuple[str, ...] = ("hard", "permanent")
    sender: tuple[str, ...] = ("sender",)


class SoftBounces(Model):
    """`limit` soft bounces `within` this time suppress an address for the time `rest`; a hard one does until it is lifted."""

    limit: Annotated[int, Field(ge=1, le=1_000)] = 3
    within: Length = parse_duration("P14D")
    rest: Length = parse_duration("P30D")


class ConsentRules(Model):
    """The content of `catalog/consent.yaml`; an empty file needs no confirmation and reads no signal."""

    topics: dict[Name, TopicShown] = {}
    confirm: tuple[NeedsConfirming, ...] = ()
    signals: dict[SignalName, ConsentSignal] = {}
    suppress: dict[SignalName, SuppressSignal] = {}
    soft_bounces: SoftBounces = SoftBounces()

    @model_validator(mode="after")
    def _one_meaning(self) -> ConsentRules:
        both = sorted(self.signals.keys() & self.suppress.keys())
        if both:
            raise ValueError(f"{', '.join(both)} cannot be under both `signals` and `suppress`")
        return self

    def needs_confirming(self, channel: str, topic: str) -> bool:
        """Whether a grant of a channel and topic (either may be `*`) waits for a confirmation."""
        return any(rule.overlaps(channel, topic) for rule in self.confirm)

    def hears(self, name: str) -> bool:
        """Whether a signal of this name changes consent or suppresses an address."""
        return name in self.signals or name in self.suppress


@dataclass(frozen=True, slots=True)
class ConsentRuleSet:
    """The policy's defaults, the consent rules, and the keys of links and addresses, as the store needs them."""

    policy: Policy = field(default_factory=Policy)
    rules: ConsentRules = field(default_factory=ConsentRules)
    links: Links = field(default_factory=lambda: Links(DEV_BASE, (DEV_KEY,)))
    addresses: AddressHash = field(default_factory=lambda: AddressHash((DEV_KEY,)))

    def topic_title(self, topic: str, used: Collection[str]) -> str | None:
        """Title of a topic for recipients; None for one that neither the catalogue nor a journey (`used`) has.

        An event may name any topic, and nobody's words but the company's are shown as its own.
        """
        if topic == ANY:
            return "all messages"
        if topic in self.rules.topics:
            return self.rules.topics[topic].title
        return unnamed_topic(topic) if topic in self.policy.topics or topic in used else None


def unnamed_topic(topic: str) -> str:
    """Title of a topic that has none: its name as words."""
    return topic.replace("-", " ").replace("_", " ").capitalize()


def load_consent_rules(mapping: Mapping[str, Any] | None) -> ConsentRules:
    """The rules of a parsed file. Raises pydantic's ValidationError with every fault."""
    return ConsentRules.model_validate(mapping or {})


def read_consent_rules(text: str | bytes) -> tuple[ConsentRules | None, YamlSource]:
    """The rules from YAML or JSON, or None with every problem at its line in `source.problems`."""
    return read_model(text, ConsentRules)


def confirmations_without_effect(policy: Policy, rules: ConsentRules) -> Iterator[str]:
    """A sentence for each channel and topic that needs a confirmation, but is allowed by the policy without consent."""
    for rule in rules.confirm:
        channels = (rule.channel,) if rule.channel else MESSAGED
        topics = (rule.topic,) if rule.topic else (*rules.topics, ANY)
        for channel in channels:
            for topic in topics:
                named = None if topic == ANY else topic
                if consent_refusal(policy, named, "promotional", channel, {}) is None:
                    yield f"{topic} by {channel} needs a confirmation, but policy.yaml allows it without consent"
