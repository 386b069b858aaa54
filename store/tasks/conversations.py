"""Conversations: a reply quiets its run for the person, withdraws what waits and opens a task.

All of it in the commit that accepts the answer, under the person's lock, which the gate takes too. It ends when its task is
closed, or by itself some time after their last word; nothing has to happen then. Other runs go on all the while.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from journeys.consent.statements import answered_message, keyword_in_reply
from journeys.events.inbound import InboundEvent, StoredEvent
from journeys.gate.verdicts import Reason
from journeys.language.actions import PRESSING
from journeys.protocol.wire import CLOSED
from store.database import Connection, execute, fetch_all, fetch_one, sql
from store.definitions.registry import DefinitionRegistry
from store.messages.answered import answered_messages
from store.messages.entries import LedgerEntry
from store.messages.withdrawals import withdraw_from_person
from store.outbox import queue as outbox
from store.outbox.queue import DerivedSignal
from store.people import subjects
from store.rows import RowDict
from store.tasks import assignment
from store.tasks import log as task_log
from store.tasks.opening import NewTask, open_task

NOBODY = "support"
"""Who answers where nobody is named: a word, as any owner may be."""
_OVER = sql(
    """
    UPDATE conversations SET closed_at = until, closed_by = 'time'
    WHERE recipient = :person AND run = :run AND closed_at IS NULL AND until <= :at
    """
)
_AGAIN = sql(
    """
    UPDATE conversations SET replies = replies + 1, last_at = greatest(last_at, :at), until = greatest(until, :until)
    WHERE recipient = :person AND run = :run AND closed_at IS NULL RETURNING id, task_id
    """
)
_BEGIN = sql(
    """
    INSERT INTO conversations (run, recipient, message_id, journey, template, channel, owner, opened_at, last_at, until)
    VALUES (:run, :person, :message, :journey, :template, :channel, :owner, :at, :at, :until) RETURNING id
    """
)
_HAS_TASK = sql("UPDATE conversations SET task_id = :task WHERE id = :conversation")
_END = sql(
    """
    UPDATE conversations c SET closed_at = :at, closed_by = :by FROM runs r
    WHERE c.task_id = :task AND c.closed_at IS NULL AND r.id = c.run
    RETURNING c.id, c.run, c.recipient, c.journey, c.template, c.channel, c.message_id, r.lane, r.status = 'open' AS goes_on
    """
)
_MOVE = sql(
    """
    UPDATE conversations c SET recipient = :into WHERE recipient = :gone AND NOT EXISTS
      (SELECT 1 FROM conversations o WHERE o.recipient = :into AND o.run = c.run AND o.closed_at IS NULL)
    """
)
_COLUMNS = """c.id, c.run, c.recipient, c.message_id, c.journey, c.template, c.channel, c.owner, c.task_id, c.replies,
    c.opened_at, c.last_at, c.until, c.closed_at, c.closed_by"""
_LIST = sql(
    f"""
    SELECT {_COLUMNS} FROM conversations c
    WHERE (CAST(:keys AS text[]) IS NULL OR c.recipient = ANY(CAST(:keys AS text[])))
      AND (CAST(:standing AS boolean) IS NULL OR (c.closed_at IS NULL AND c.until > :now) = :standing)
      AND (CAST(:before AS bigint) IS NULL OR c.id < :before) ORDER BY c.id DESC LIMIT :limit
    """  # noqa: S608 -- the columns are ours
)
_ONE = sql(f"SELECT {_COLUMNS} FROM conversations c WHERE c.id = :id")  # noqa: S608 -- the columns are ours


async def open_from_replies(
    connection: Connection, catalogue: DefinitionRegistry, stored: Sequence[StoredEvent]
) -> None:
    """Open or go on with the conversations that events of a batch begin. The people and the lanes that hear of it are locked.

    A reply that is a keyword is a statement of consent (`store/consent/from_events.py`) and begins none.
    """
    for item in stored:
        message = answered_message(item.event)
        if message is None or keyword_in_reply(item.event) is not None:
            continue
        for about in await answered_messages(connection, item.subject_key, message):
            await _answered(connection, catalogue, item.subject_key, about, item.event.data, item.at)


async def _answered(
    connection: Connection,
    catalogue: DefinitionRegistry,
    person: str,
    about: Mapping[str, Any],
    said: Mapping[str, Any],
    at: datetime,
) -> None:
    until = catalogue.consent.policy.answered.quiet.after(at)
    place = {"person": person, "run": about["run"]}
    await execute(connection, _OVER, **place, at=at)
    again = await fetch_one(connection, _AGAIN, **place, at=at, until=until)
    if again is None:
        await _begin(connection, catalogue, person, about, said, at, until)
    elif again["task_id"] is not None:
        text = str(said.get("text") or "")
        line = f"they have written again: {text}" if text else "they have written again"
        await task_log.write_task_log(connection, again["task_id"], at, "noted", task_log.SELF, line)
    await _take_back(connection, catalogue, person, about["run"], at)


async def _begin(
    connection: Connection,
    catalogue: DefinitionRegistry,
    person: str,
    about: Mapping[str, Any],
    said: Mapping[str, Any],
    at: datetime,
    until: datetime,
) -> None:
    """The conversation, and the task of whoever answers them."""
    rule, account = catalogue.consent.policy.answered, about["account"]
    named = await _named(connection, catalogue, about)
    to = await assignment.choose_owner(
        connection, catalogue.roster, task=rule.task, named=named, account=account, at=at
    )
    values = {name: about[name] for name in ("run", "journey", "template", "channel")} | {"person": person, "at": at}
    begun = await fetch_one(connection, _BEGIN, **values, message=about["id"], owner=to.owner, until=until)
    assert begun is not None
    key = f"reply/{begun['id']}"
    data = {"text": str(said.get("text") or ""), "message": str(about["id"]), "template": about["template"],
            "channel": about["channel"], "conversation": begun["id"]}  # fmt: skip
    new = NewTask(
        key=key,
        run=about["run"],
        subject=person,
        journey=about["journey"],
        action=rule.task,
        task=rule.task,
        named=named,
        data=data,
        at=at,
        within=rule.within,
        scope=account or person,
        reason=key,
        account=account,
        clock=about["clock"],
    )
    opened = await open_task(connection, catalogue.roster, new, to)
    assert opened is not None, "its key is its own"
    await execute(connection, _HAS_TASK, task=opened.id, conversation=begun["id"])


async def _named(connection: Connection, catalogue: DefinitionRegistry, about: Mapping[str, Any]) -> str:
    """Who answers: the account's manager, else the policy's word, else the template's owner."""
    team = catalogue.roster.team
    manager = (await subjects.profile_of(connection, about["account"])).get(team.owner) if about["account"] else None
    if isinstance(manager, str) and manager:
        return team.person_called(manager) or manager
    return catalogue.consent.policy.answered.owner or catalogue.owner_of(about["template"]) or NOBODY


async def _take_back(
    connection: Connection, catalogue: DefinitionRegistry, person: str, run_id: str, at: datetime
) -> None:
    """What this run had planned for them, but for what is pressing."""

    def reasons(entry: LedgerEntry) -> tuple[Reason, ...] | None:
        if entry.run != run_id or entry.priority in PRESSING:
            return None
        return (Reason("in_conversation", f"they have answered {entry.journey}"),)

    await withdraw_from_person(connection, catalogue, person, reasons, at)


async def close_with_task(connection: Connection, task: int, by: str, at: datetime) -> InboundEvent | None:
    """The task of a conversation is closed, and so is the conversation: the run may speak again, and hears of it.

    The event of it, for the caller to store. The caller holds the person and the run's lane.
    """
    ended = await fetch_one(connection, _END, task=task, by=by, at=at)
    if ended is None:
        return None
    data = {name: ended[name] for name in ("journey", "template", "channel")} | {
        "message": str(ended["message_id"]),
        "by": by,
    }
    once = f"conversation/{ended['id']}"
    if ended["goes_on"]:
        await outbox.enqueue_derived(
            connection, DerivedSignal(ended["lane"], ended["run"], "signal", CLOSED, once, at, data)
        )
    return InboundEvent("track", once, CLOSED, subject_key=ended["recipient"], data=data)


async def move_to(connection: Connection, gone: str, into: str) -> None:
    """A visitor's conversations are the user's, but for one of a run in which the user has an open one."""
    await execute(connection, _MOVE, gone=gone, into=into)


async def list_conversations(
    connection: Connection,
    *,
    now: datetime,
    keys: list[str] | None = None,
    standing: bool | None = None,
    before: int | None = None,
    limit: int,
) -> list[RowDict]:
    """The newest first: those that stand, those that are over, or both."""
    found = await fetch_all(connection, _LIST, now=now, keys=keys, standing=standing, before=before, limit=limit)
    return [dict(item) for item in found]


async def get_conversation(connection: Connection, identity: int) -> RowDict | None:
    """One of them."""
    found = await fetch_one(connection, _ONE, id=identity)
    return dict(found) if found else None
