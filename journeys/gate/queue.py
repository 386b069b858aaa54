"""Queued messages of one person, and the order in which messages go."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final, Protocol

from journeys.frozen import frozen
from journeys.gate.reason_codes import WITHOUT_KNOWN_END
from journeys.language.actions import PRIORITIES

NEW: Final = 2**63 - 1
"""The number of a message that has none yet: it comes after all that wait."""


class Ranked(Protocol):
    """What the order of messages is made of."""

    @property
    def priority(self) -> str: ...
    @property
    def at(self) -> datetime: ...
    @property
    def number(self) -> int: ...
    @property
    def key(self) -> str: ...


def order_of(message: Ranked) -> tuple[int, datetime, int, str]:
    """The place of a message among all of its recipient: by priority (C6), then by when it was asked for.

    Of messages asked for at one instant the one that has waited longer is first, by its number: keys have random ids of
    people, which a simulation does not know. New messages of one step follow by key.
    """
    return PRIORITIES.index(message.priority), message.at, message.number, message.key


def rules_of_wait(reasons: Iterable[tuple[str, str | None]]) -> frozenset[str]:
    """The rules that a message waits for, by the code and the rule of each reason."""
    return frozenset(rule for code, rule in reasons if rule and code != "behind")


def ends_by_itself(codes: Iterable[str]) -> bool:
    """Whether a wait for reasons with these codes ends by itself, at a known instant."""
    return WITHOUT_KNOWN_END.isdisjoint(codes)


@frozen
class QueuedMessage:
    """A message to this person that waits until `due` and was asked for `at`.

    - `rules` are the names of the policy rules that it waits for; a rule whose place it leaves to another is not among
      them.
    - `has_known_end`: its wait ends at `due` by itself. It waits for no person, no provider and no other version, and its run is still in
      the visit that requested it.
    - `number` grows with each message that is asked for.
    """

    key: str
    due: datetime
    at: datetime
    channels: tuple[str, ...]
    topic: str | None
    priority: str
    action: str = ""
    journey: str = ""
    rules: frozenset[str] = frozenset()
    expires_at: datetime | None = None
    has_known_end: bool = True
    number: int = NEW

    @property
    def allowed_channels(self) -> tuple[str, ...]:
        """The channels that may be used, in order of preference."""
        return self.channels

    @property
    def consent_topics(self) -> tuple[str | None, ...]:
        """The topics that need consent."""
        return (self.topic,)
