"""Replies to runs: the answered message, the owner, and the task of a conversation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from journeys.consent.statements import answered_message, keyword_in_reply
from journeys.events.inbound import StoredEvent
from journeys.gate.policy import ReplyPolicy
from journeys.tasks.assignment import Roster
from journeys.tasks.requests import reply_owner
from store.database import Connection
from store.definitions.registry import DefinitionRegistry
from store.messages.answered import answered_messages
from store.people import subjects
from store.tasks.assignment import turns_of
from store.tasks.opening import NewTask


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply to one run: the message that it answers (`about`), and the owner that its task is for."""

    person: str
    about: Mapping[str, Any]
    text: str
    at: datetime
    named: str

    @property
    def account(self) -> str | None:
        account: str | None = self.about["account"]
        return account

    @property
    def scope(self) -> str:
        return self.account or self.person


async def replies_in(connection: Connection, catalogue: DefinitionRegistry, item: StoredEvent) -> list[Reply]:
    """The replies of an event, one for each run that it answers; none if it is no reply, a keyword or history."""
    message = answered_message(item.event)
    if message is None or item.event.historical or keyword_in_reply(item.event) is not None:
        return []
    text = str(item.event.data.get("text") or "")
    return [
        Reply(item.subject_key, about, text, item.at, await _owner(connection, catalogue, about))
        for about in await answered_messages(connection, item.subject_key, message)
    ]


async def _owner(connection: Connection, catalogue: DefinitionRegistry, about: Mapping[str, Any]) -> str:
    """The owner of the reply (`journeys/tasks/requests.py`)."""
    account = await subjects.profile_of(connection, about["account"]) if about["account"] else {}
    owner, template_owner = catalogue.consent.policy.answered.owner, catalogue.owner_of(about["template"])
    return reply_owner(catalogue.roster.team, account, owner, template_owner)


def turns_for(roster: Roster, reply: Reply) -> set[str]:
    """The turns that the reply's task takes, if it opens one."""
    return turns_of(roster, [reply.named], clock=reply.about["clock"], scope=reply.scope)


def task_of(reply: Reply, conversation: int, rule: ReplyPolicy) -> NewTask:
    """The task of a conversation that the reply begins; its key is its own."""
    about, key = reply.about, f"reply/{conversation}"
    data = {"text": reply.text, "message": str(about["id"]), "template": about["template"],
            "channel": about["channel"], "conversation": conversation}  # fmt: skip
    return NewTask(
        key=key,
        run=about["run"],
        subject=reply.person,
        journey=about["journey"],
        action=rule.task,
        task=rule.task,
        named=reply.named,
        data=data,
        at=reply.at,
        within=rule.within,
        scope=reply.scope,
        reason=key,
        account=reply.account,
        clock=about["clock"],
    )
