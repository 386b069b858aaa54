"""Mailboxes of a simulation: messages, opt-outs and suppressions there.

They count for everybody who has the address. A person whom the scenario only assumes to have an address has no mailbox: nobody shares it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from journeys.consent.mailboxes import concerned, mailboxes_of, with_refusals
from journeys.consent.precedence import DatedStatement, is_newer
from journeys.consent.preferences import ChannelTopic
from journeys.gate.policy import Policy
from journeys.gate.verdicts import Consents, SentMessage
from journeys.simulation.mailboxes.suppressions import MailboxOwner, Suppressions

Mailbox = tuple[str, str]
"""A channel and an address in one spelling."""


class Mailboxes:
    """The mailboxes of one simulation."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.suppressions = Suppressions()
        self._sent: dict[Mailbox, deque[tuple[MailboxOwner, SentMessage]]] = {}
        self._newest: dict[Mailbox, dict[str, DatedStatement]] = {}

    def add_sent(self, person: MailboxOwner, sent: SentMessage, begin: datetime) -> None:
        """Count a message for everybody at its address; those before `begin` count no more."""
        address = self._of(person.profile).get(sent.channel)
        if address is not None:
            messages = self._sent.setdefault((sent.channel, address), deque())
            while messages and messages[0][1].at <= begin:
                messages.popleft()
            messages.append((person, sent))

    def keep_statement(self, person: MailboxOwner, place: ChannelTopic, statement: DatedStatement) -> None:
        """Keep what a person has said themselves at their mailboxes, unless something newer was said there."""
        mailboxes = self._of(person.profile)
        for channel in concerned(place, mailboxes):
            by_topic = self._newest.setdefault((channel, mailboxes[channel]), {})
            known = by_topic.get(place[1])
            if known is None or is_newer(statement, known):
                by_topic[place[1]] = statement

    def consents(self, profile: Mapping[str, Any], own: Consents) -> Consents:
        """A person's consents, with the topics that were opted out of at their mailboxes."""
        if not self._newest:
            return own
        refused = [
            (channel, topic)
            for channel, address in self._of(profile).items()
            for topic, statement in self._newest.get((channel, address), {}).items()
            if statement.granted is False
        ]
        return with_refusals(own, refused)

    def sent_to_others(self, person: MailboxOwner) -> tuple[SentMessage, ...]:
        """The messages to others at a person's mailboxes."""
        if not self._sent:
            return ()
        return tuple(
            replace(sent, to_other=True)
            for mailbox in self._of(person.profile).items()
            for recipient, sent in self._sent.get(mailbox, ())
            if recipient is not person
        )

    def move(self, gone: MailboxOwner, into: MailboxOwner) -> None:
        """Count what was sent to a visitor, and said of an address of theirs, for the user they turned out to be."""
        self.suppressions.move(gone, into)
        for messages in self._sent.values():
            for place, (person, sent) in enumerate(messages):
                if person is gone:
                    messages[place] = into, sent

    def _of(self, profile: Mapping[str, Any]) -> dict[str, str]:
        return mailboxes_of(self._policy, profile) if profile else {}
