"""Mailboxes of a simulation: what was said and sent there.

It counts for everybody who has the address. A person whom the scenario only assumes to have an address has no mailbox: nobody shares it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from journeys.consent.mailboxes import concerned, mailboxes_of, with_refusals
from journeys.consent.precedence import DatedStatement, with_statement
from journeys.consent.preferences import ChannelTopic
from journeys.gate.policy import Policy
from journeys.gate.verdicts import Consents, SentMessage

Mailbox = tuple[str, str]
"""A channel and an address in one spelling."""


class MailboxOwner(Protocol):
    """A person with an address among their fields."""

    @property
    def profile(self) -> Mapping[str, Any]: ...


class Mailboxes:
    """The mailboxes of one simulation."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._sent: dict[Mailbox, list[tuple[MailboxOwner, SentMessage]]] = {}
        self._said: dict[Mailbox, dict[str, DatedStatement]] = {}

    def add_sent(self, person: MailboxOwner, sent: SentMessage, begin: datetime) -> None:
        """Count a message for everybody at its address; those before `begin` count no more."""
        address = self._of(person.profile).get(sent.channel)
        if address is not None:
            known = self._sent.get((sent.channel, address), ())
            self._sent[sent.channel, address] = [*(each for each in known if each[1].at > begin), (person, sent)]

    def keep_statement(self, person: MailboxOwner, place: ChannelTopic, statement: DatedStatement) -> None:
        """Keep what a person has said themselves at their mailboxes, unless something newer was said there."""
        mailboxes = self._of(person.profile)
        for channel in concerned(place, mailboxes):
            said = self._said.setdefault((channel, mailboxes[channel]), {})
            before = {statement.by: _said_by(said[place[1]], statement)} if place[1] in said else {}
            said[place[1]] = with_statement(before, statement)[statement.by]

    def consents(self, profile: Mapping[str, Any], own: Consents) -> Consents:
        """A person's consents, with the topics that were opted out of at their mailboxes."""
        if not self._said:
            return own
        refused = [
            (channel, topic)
            for channel, address in self._of(profile).items()
            for topic, statement in self._said.get((channel, address), {}).items()
            if statement.granted is False
        ]
        return with_refusals(own, refused)

    def sent_to_others(self, person: MailboxOwner) -> tuple[SentMessage, ...]:
        """The messages to others at a person's mailboxes."""
        if not self._sent:
            return ()
        return tuple(
            _to_other(sent)
            for mailbox in self._of(person.profile).items()
            for recipient, sent in self._sent.get(mailbox, ())
            if recipient is not person
        )

    def move(self, gone: MailboxOwner, into: MailboxOwner) -> None:
        """Count what was sent to a visitor as sent to the user they turned out to be."""
        for mailbox, known in self._sent.items():
            self._sent[mailbox] = [(into if person is gone else person, sent) for person, sent in known]

    def _of(self, profile: Mapping[str, Any]) -> dict[str, str]:
        return mailboxes_of(self._policy, profile) if profile else {}


def _said_by(said: DatedStatement, statement: DatedStatement) -> DatedStatement:
    """A statement at an address as one of the same author: there all authors are one."""
    return DatedStatement(said.granted, said.at, statement.by, said.source)


def _to_other(sent: SentMessage) -> SentMessage:
    return SentMessage(
        sent.at, sent.channel, sent.topic, sent.priority, sent.action, sent.journey, sent.template, sent.account,
        sent.key, is_part=sent.is_part, to_other=True,
    )  # fmt: skip
