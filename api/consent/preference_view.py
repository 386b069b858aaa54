"""View of the preference page: topics, channels, what holds and why."""

from __future__ import annotations

from dataclasses import dataclass

from journeys.consent.preferences import (
    ChannelTopic,
    PersonStatement,
    channel_label,
    effective_consents,
    topics_in_order,
)
from journeys.consent.rules import ConsentRuleSet, TopicShown
from journeys.gate.verdicts import ANY
from store.consent import records, requests
from store.database import Connection
from store.definitions.registry import DefinitionRegistry

QUESTION = "Which messages may we send you?"


@dataclass(frozen=True, slots=True)
class PreferenceBox:
    """One box: `value` is what the form sends, `why` a sentence without its full stop."""

    id: str
    value: str
    place: ChannelTopic
    channel: str
    allowed: bool
    state: str
    why: str


@dataclass(frozen=True, slots=True)
class PreferenceTopic:
    """A topic and its boxes."""

    name: str
    title: str
    description: str
    choices: tuple[PreferenceBox, ...]


@dataclass(frozen=True, slots=True)
class PreferenceView:
    """All of it, and what was said so far."""

    topics: tuple[PreferenceTopic, ...]
    said: dict[ChannelTopic, bool]

    def places(self) -> dict[str, ChannelTopic]:
        """By what the form sends, the place it is about."""
        return {choice.value: choice.place for topic in self.topics for choice in topic.choices}

    def wording(self, place: ChannelTopic) -> str:
        """What the person was shown about a place."""
        for topic in self.topics:
            for choice in topic.choices:
                if choice.place == place:
                    about = f" ({topic.description.rstrip('.')})" if topic.description else ""
                    return f"{QUESTION} {topic.title}{about}, by {choice.channel}"
        return QUESTION


async def preference_view(connection: Connection, catalogue: DefinitionRegistry, person: str) -> PreferenceView:
    """Every topic that is declared, that a journey in use speaks of, or of which the person has said something."""
    book = catalogue.consent
    said = {
        (item["channel"], item["topic"]): PersonStatement(item["granted"], item["source"], item["at"])
        for item in await records.list_consents(connection, person)
    }
    waiting = frozenset(
        (item["channel"], item["topic"]) for item in await requests.pending_confirmations(connection, person)
    )
    places = {*await _topics_of_journeys(connection, catalogue), *said, *waiting}
    topics = topics_in_order(list(book.rules.topics), (topic for _, topic in places))
    shown = tuple(
        _topic(
            book, name, sorted(channel for channel, about in places if about == name and channel != ANY), said, waiting
        )
        for name in topics
        if book.rules.topics.get(name, _unnamed(name)).shown
    )
    return PreferenceView(shown, {place: each.granted for place, each in said.items()})


def title_of(book: ConsentRuleSet, topic: str) -> str:
    """A topic in people's words."""
    return "all messages" if topic == ANY else book.rules.topics.get(topic, _unnamed(topic)).title


async def _topics_of_journeys(connection: Connection, catalogue: DefinitionRegistry) -> set[ChannelTopic]:
    """By which channels journeys in use speak of which topics."""
    index = await catalogue.current(connection)
    ways = {way for chart in index.charts.values() for way in chart.routes}
    return {(channel, topic) for topic, _, channel in ways if topic is not None}


def _topic(
    book: ConsentRuleSet,
    name: str,
    channels: list[str],
    said: dict[ChannelTopic, PersonStatement],
    waiting: frozenset[ChannelTopic],
) -> PreferenceTopic:
    told = book.rules.topics.get(name, _unnamed(name))
    # A topic that is declared can be chosen before the first journey speaks of it.
    choices = tuple(_choice(book, (channel, name), said, waiting) for channel in channels or ["email"])
    return PreferenceTopic(name, told.title, told.description or "", choices)


def _choice(
    book: ConsentRuleSet,
    place: ChannelTopic,
    said: dict[ChannelTopic, PersonStatement],
    waiting: frozenset[ChannelTopic],
) -> PreferenceBox:
    channel, topic = place
    titles = {name: f"“{told.title}”" for name, told in book.rules.topics.items()}
    found = effective_consents(book.policy, said, place, waiting, titles)
    state = "Waiting" if found.pending else "On" if found.allowed else "Off"
    return PreferenceBox(
        f"{topic}-{channel}", f"{channel}:{topic}", place, channel_label(channel), found.allowed, state, found.why
    )


def _unnamed(topic: str) -> TopicShown:
    return TopicShown(title=topic.replace("-", " ").replace("_", " ").capitalize())
