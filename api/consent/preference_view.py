"""View of the preference page: topics, channels, effective consent and its reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from journeys.consent.preferences import (
    ChannelTopic,
    PersonStatement,
    channel_label,
    effective_consents,
    topics_in_order,
)
from journeys.consent.rules import ConsentRuleSet, TopicShown, unnamed_topic
from journeys.gate.verdicts import ANY
from store.consent import records, requests
from store.database import Connection
from store.definitions.registry import DefinitionRegistry

QUESTION = "Which messages may we send you?"


@dataclass(frozen=True, slots=True)
class PreferenceBox:
    """A checkbox. `value` is the form's value, `why` a sentence without its full stop."""

    id: str
    value: str
    place: ChannelTopic
    channel: str
    allowed: bool
    state: str
    why: str


@dataclass(frozen=True, slots=True)
class PreferenceTopic:
    """A topic and its checkboxes."""

    name: str
    title: str
    description: str
    choices: tuple[PreferenceBox, ...]


@dataclass(frozen=True, slots=True)
class PreferenceView:
    """All topics, and the person's statements so far."""

    topics: tuple[PreferenceTopic, ...]
    statements: dict[ChannelTopic, bool]

    def places(self) -> dict[str, ChannelTopic]:
        """Channel and topic by the form's value."""
        return {choice.value: choice.place for topic in self.topics for choice in topic.choices}

    def wording(self, place: ChannelTopic) -> str:
        """The text that the person was shown for a channel and topic."""
        for topic in self.topics:
            for choice in topic.choices:
                if choice.place == place:
                    about = f" ({topic.description.rstrip('.')})" if topic.description else ""
                    return f"{QUESTION} {topic.title}{about}, by {choice.channel}"
        return QUESTION


async def preference_view(
    connection: Connection, catalogue: DefinitionRegistry, person: str, now: datetime
) -> PreferenceView:
    """Every topic that the catalogue declares or a journey in use sends."""
    rule_set = catalogue.consent
    statements = {
        (item["channel"], item["topic"]): PersonStatement(item["granted"], item["source"], item["at"])
        for item in await records.list_in_force(connection, rule_set, person)
    }
    pending = frozenset(
        (item["channel"], item["topic"]) for item in await requests.pending_confirmations(connection, person, now)
    )
    used = await _topics_of_journeys(connection, catalogue)
    named = {topic for _, topic in used}
    # An event may name any topic; the page shows no words but the catalogue's.
    places = {place for place in (*used, *statements, *pending) if rule_set.topic_title(place[1], named) is not None}
    topics = topics_in_order(list(rule_set.rules.topics), (place[1] for place in places))
    shown = tuple(
        _topic(
            rule_set,
            name,
            sorted(channel for channel, topic in places if topic == name and channel != ANY),
            statements,
            pending,
        )
        for name in topics
        if rule_set.rules.topics.get(name, _unnamed(name)).shown
    )
    return PreferenceView(shown, {place: statement.granted for place, statement in statements.items()})


def title_of(rule_set: ConsentRuleSet, topic: str) -> str:
    """Title of a topic for recipients."""
    return "all messages" if topic == ANY else rule_set.rules.topics.get(topic, _unnamed(topic)).title


async def _topics_of_journeys(connection: Connection, catalogue: DefinitionRegistry) -> set[ChannelTopic]:
    """Channels and topics of the messages that journeys in use send."""
    index = await catalogue.current(connection)
    routes = {route for chart in index.charts.values() for route in chart.routes}
    return {(channel, topic) for topic, _, channel in routes if topic is not None}


def _topic(
    rule_set: ConsentRuleSet,
    name: str,
    channels: list[str],
    statements: dict[ChannelTopic, PersonStatement],
    pending: frozenset[ChannelTopic],
) -> PreferenceTopic:
    topic = rule_set.rules.topics.get(name, _unnamed(name))
    # A declared topic can be chosen before a journey uses it.
    choices = tuple(_choice(rule_set, (channel, name), statements, pending) for channel in channels or ["email"])
    return PreferenceTopic(name, topic.title, topic.description or "", choices)


def _choice(
    rule_set: ConsentRuleSet,
    place: ChannelTopic,
    statements: dict[ChannelTopic, PersonStatement],
    pending: frozenset[ChannelTopic],
) -> PreferenceBox:
    channel, topic = place
    titles = {name: f"“{shown.title}”" for name, shown in rule_set.rules.topics.items()}
    consent = effective_consents(rule_set.policy, statements, place, pending, titles)
    state = "Waiting" if consent.pending else "On" if consent.allowed else "Off"
    return PreferenceBox(
        f"{topic}-{channel}", f"{channel}:{topic}", place, channel_label(channel), consent.allowed, state, consent.why
    )


def _unnamed(topic: str) -> TopicShown:
    return TopicShown(title=unnamed_topic(topic))
