"""Conversations: a reply pauses its run, withdraws what waits and opens a task.

All of it is in the commit that accepts the reply, under the person's lock, which the gate takes too. A conversation
ends when its task is closed, or some time after the person's last message; nothing has to run then. Other runs go on
meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import bindparam, exists, func, not_, update
from sqlalchemy.dialects.postgresql import insert

from journeys.events.inbound import InboundEvent, StoredEvent
from journeys.gate.verdicts import Reason
from journeys.language.actions import PRESSING
from journeys.language.signal_names import CONVERSATION_CLOSED
from store.database import Connection, execute, fetch_one, sql
from store.definitions.registry import DefinitionRegistry, fields_read
from store.messages.entries import LedgerEntry
from store.messages.withdrawals import withdraw_from_person
from store.outbox.derived import DerivedSignal, enqueue_derived
from store.schema import conversations, runs
from store.schema.base import Timestamp
from store.tasks import assignment
from store.tasks import log as task_log
from store.tasks.opening import open_task
from store.tasks.replies import Reply, replies_in, task_of, turns_for

_theirs = (
    conversations.c.recipient == bindparam("person"),
    conversations.c.run == bindparam("run"),
    conversations.c.closed_at.is_(None),
)
_OVER = sql(
    update(conversations)
    .where(*_theirs, conversations.c.until <= bindparam("at"))
    .values(closed_at=conversations.c.until, closed_by="time")
)
_CONTINUE = sql(
    update(conversations)
    .where(*_theirs)
    .values(
        replies=conversations.c.replies + 1,
        last_at=func.greatest(conversations.c.last_at, bindparam("at", type_=Timestamp)),
        until=func.greatest(conversations.c.until, bindparam("until", type_=Timestamp)),
    )
    .returning(conversations.c.id, conversations.c.task_id)
)
_BEGIN = sql(
    insert(conversations)
    .values(
        run=bindparam("run"),
        recipient=bindparam("person"),
        message_id=bindparam("message"),
        journey=bindparam("journey"),
        template=bindparam("template"),
        channel=bindparam("channel"),
        owner=bindparam("owner"),
        opened_at=bindparam("at"),
        last_at=bindparam("at"),
        until=bindparam("until"),
    )
    .returning(conversations.c.id)
)
_HAS_TASK = sql(
    update(conversations).where(conversations.c.id == bindparam("conversation")).values(task_id=bindparam("task"))
)
_END = sql(
    update(conversations)
    .where(
        conversations.c.task_id == bindparam("task"),
        conversations.c.closed_at.is_(None),
        runs.c.id == conversations.c.run,
    )
    .values(closed_at=bindparam("at"), closed_by=bindparam("by"))
    .returning(
        conversations.c.id,
        conversations.c.run,
        conversations.c.recipient,
        conversations.c.journey,
        conversations.c.template,
        conversations.c.channel,
        conversations.c.message_id,
        runs.c.lane,
        runs.c.definition,
        (runs.c.status == "open").label("goes_on"),
    )
)
_other = conversations.alias("other")
_MOVE = sql(
    update(conversations)
    .where(
        conversations.c.recipient == bindparam("gone"),
        not_(
            exists().where(
                _other.c.recipient == bindparam("into"),
                _other.c.run == conversations.c.run,
                _other.c.closed_at.is_(None),
            )
        ),
    )
    .values(recipient=bindparam("into"))
)


async def open_from_replies(
    connection: Connection, catalogue: DefinitionRegistry, stored: Sequence[StoredEvent]
) -> None:
    """Open or continue the conversations that a batch's replies belong to. People and lanes are locked.

    A reply that is a keyword changes consent (`store/consent/from_events.py`) and opens none; nor does history.
    """
    replies = [reply for item in stored for reply in await replies_in(connection, catalogue, item)]
    await assignment.lock_turns(connection, {turn for reply in replies for turn in turns_for(catalogue.roster, reply)})
    for reply in replies:
        await _answered(connection, catalogue, reply)


async def _answered(connection: Connection, catalogue: DefinitionRegistry, reply: Reply) -> None:
    at, place = reply.at, {"person": reply.person, "run": reply.about["run"]}
    until = catalogue.consent.policy.answered.quiet.after(at)
    await execute(connection, _OVER, **place, at=at)
    continued = await fetch_one(connection, _CONTINUE, **place, at=at, until=until)
    if continued is None:
        await _begin(connection, catalogue, reply, until)
    elif continued["task_id"] is not None:
        line = f"the person has written again: {reply.text}" if reply.text else "the person has written again"
        await task_log.write_task_log(connection, continued["task_id"], at, "noted", task_log.SELF, line)
    await _withdraw_planned(connection, catalogue, reply.person, reply.about["run"], at)


async def _begin(connection: Connection, catalogue: DefinitionRegistry, reply: Reply, until: datetime) -> None:
    """Open a conversation, and the task of its owner. The turns of the owner's team are locked."""
    rule, about = catalogue.consent.policy.answered, reply.about
    to = await assignment.choose_owner(
        connection, catalogue.roster, task=rule.task, named=reply.named, account=reply.account, at=reply.at,
        clock=about["clock"], scope=reply.scope,
    )  # fmt: skip
    values = {name: about[name] for name in ("run", "journey", "template", "channel")}
    values |= {"person": reply.person, "at": reply.at, "message": about["id"]}
    conversation = await fetch_one(connection, _BEGIN, **values, owner=to.owner, until=until)
    assert conversation is not None
    new = task_of(reply, conversation["id"], catalogue.consent.policy.answered)
    task = await open_task(connection, catalogue.roster, new, to)
    assert task is not None, "its key is its own"
    await execute(connection, _HAS_TASK, task=task.id, conversation=conversation["id"])


async def _withdraw_planned(
    connection: Connection, catalogue: DefinitionRegistry, person: str, run_id: str, at: datetime
) -> None:
    """Withdraw this run's deferred messages to the person, except pressing ones."""

    def reasons(entry: LedgerEntry) -> tuple[Reason, ...] | None:
        if entry.run != run_id or entry.priority in PRESSING:
            return None
        return (Reason("in_conversation", f"the person has answered {entry.journey}"),)

    await withdraw_from_person(connection, catalogue, person, reasons, at)


async def close_with_task(connection: Connection, task: int, by: str, at: datetime) -> InboundEvent | None:
    """Close the conversation of a task that is closed, and signal it to its run, which may send again.

    Returns its event, for the caller to store; None if the task has no open conversation. The caller holds the person
    and the run's lane.
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
        reads = await fields_read(connection, ended["definition"])
        signal = DerivedSignal(ended["lane"], ended["run"], "signal", CONVERSATION_CLOSED, once, at, data, reads)
        await enqueue_derived(connection, signal)
    return InboundEvent("track", once, CONVERSATION_CLOSED, subject_key=ended["recipient"], data=data)


async def move_to(connection: Connection, gone: str, into: str) -> None:
    """Move a visitor's conversations to the user, except one of a run in which the user has an open one."""
    await execute(connection, _MOVE, gone=gone, into=into)
