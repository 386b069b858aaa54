"""Somebody has answered a message: its run is quiet for them, what it had planned is taken back, and a person is asked to answer.

All of it in the commit that accepts the answer, under the person's lock, which the gate takes too. It ends when its task is
closed, or by itself some time after their last word; nothing has to happen then. Other runs go on all the while.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from journeys.consent.opt_out_keywords import OptKeyword, keyword_of
from journeys.events.segment import InboundEvent
from journeys.gate.verdicts import ANY, Reason
from journeys.language.actions import PRESSING
from journeys.language.signal_names import CONVERSATION_CLOSED, MESSAGE_REPLIED
from journeys.protocol.wire import SOURCE_SELF
from store.consent import consents
from store.consent.consents import ConsentChange
from store.database import Connection, as_json, execute, fetch_all, fetch_one, sql
from store.definitions.registry import DefinitionRegistry
from store.messages.digests import DIGEST_PREFIX
from store.messages.entries import LedgerEntry
from store.messages.withdrawals import withdraw_from_person
from store.outbox import queue as outbox
from store.people.identities import KnownIdentities, subject_of
from store.rows import RowDict, loaded
from store.tasks import assignment
from store.tasks import log as task_log

NOBODY = "support"
"""Who answers where nobody is named: a word, as any owner may be."""
_RUNS = sql(
    f"""
    SELECT DISTINCT ON (r.id) m.id, m.key, m.template, m.channel, r.id AS run, r.journey, r.definition, r.clock, r.state,
      CASE WHEN left(r.lane, 2) = 'a_' THEN r.lane ELSE s.account_key END AS account
    FROM messages w JOIN messages m ON (m.id = w.id AND w.key NOT LIKE '{DIGEST_PREFIX}%') OR (m.merged_into = w.key AND m.status IN ('merged', 'unknown'))
    JOIN runs r ON r.id = m.run LEFT JOIN subjects s ON s.key = m.recipient
    WHERE w.recipient = :person AND (CAST(w.id AS text) = :message OR w.key = :message)
    ORDER BY r.id, m.id
    """  # noqa: S608 -- the prefix is ours
)
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
_TASK = sql(
    """
    WITH opened AS (
      INSERT INTO tasks (key, run, subject_key, journey, action, task, owner, data, opened_at, due_at, scope_key, reason, account_key,
        named, team, why, within, remind_at, clock)
      VALUES (:key, :run, :person, :journey, :task, :task, :owner, CAST(:data AS jsonb), :at, :due, :scope, :key, :account,
        :named, :team, :why, :within, :remind, :clock)
      RETURNING id)
    UPDATE conversations SET task_id = opened.id FROM opened WHERE conversations.id = :conversation RETURNING task_id
    """
)
_PROFILE = sql("SELECT profile FROM subjects WHERE key = :key")
_END = sql(
    """
    UPDATE conversations c SET closed_at = :at, closed_by = :by FROM runs r
    WHERE c.task_id = :task AND c.closed_at IS NULL AND r.id = c.run
    RETURNING c.id, c.run, c.recipient, c.journey, c.template, c.channel, c.message_id, r.lane, r.status = 'open' AS goes_on
    """
)
_TELL = sql(
    """
    INSERT INTO events (source, message_id, kind, name, subject_key, at, received_at, data)
    VALUES (:source, :once, 'track', :name, :person, :at, clock_timestamp(), CAST(:data AS jsonb)) ON CONFLICT DO NOTHING
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


def answered_message(call: InboundEvent) -> str | None:
    """The message that an event says was answered."""
    message = (call.data or {}).get("message")
    if call.name != MESSAGE_REPLIED or not isinstance(message, str | int) or isinstance(message, bool):
        return None
    return str(message)


async def open_from_replies(
    connection: Connection,
    catalogue: DefinitionRegistry,
    fresh: Sequence[tuple[InboundEvent, datetime]],
    known: KnownIdentities,
) -> None:
    """What events of a batch answer. The people and the lanes that hear of it are locked."""
    for call, at in fresh:
        message, person = answered_message(call), subject_of(call, known)
        if message is None:
            continue
        found = await fetch_all(connection, _RUNS, person=person, message=message)
        if (wish := keyword_of(str(call.data.get("text") or ""))) is not None:
            await _wished(connection, catalogue, person, wish, {each["channel"] for each in found}, message)
            continue
        for each in found:
            await _answered(connection, catalogue, person, each, call.data, at)


async def _wished(
    connection: Connection,
    catalogue: DefinitionRegistry,
    person: str,
    wish: OptKeyword,
    channels: Collection[str],
    message: str,
) -> None:
    """A stop word is no answer: it is a no to that channel. Text messages have a way of their own, by the number."""
    if wish == "stop" and "email" in channels:
        change = ConsentChange("email", ANY, granted=False, source="reply", proof={"message": message, "word": wish})
        await consents.change_consents_within(connection, catalogue, catalogue.consent.policy, person, [change])


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
    due = catalogue.roster.due(to.owner, at, rule.within)
    has = assignment.handover_of(catalogue.roster, {"task": rule.task, "within": rule.within}, to, due, at)
    values = {name: about[name] for name in ("run", "journey", "template", "channel")} | {"person": person, "at": at}
    begun = await fetch_one(connection, _BEGIN, **values, message=about["id"], owner=to.owner, until=until)
    assert begun is not None
    data = {"text": str(said.get("text") or ""), "message": str(about["id"]), "template": about["template"],
            "channel": about["channel"], "conversation": begun["id"]}  # fmt: skip
    opened = await fetch_one(
        connection,
        _TASK,
        key=f"reply/{begun['id']}",
        run=about["run"],
        person=person,
        journey=about["journey"],
        task=rule.task,
        owner=to.owner,
        data=as_json(data),
        at=at,
        scope=account or person,
        account=account,
        named=named,
        team=to.team,
        why=to.why,
        due=has.due_at,
        within=rule.within,
        remind=has.remind_at,
        clock=about["clock"],
        conversation=begun["id"],
    )
    assert opened is not None
    await task_log.write_task_log(
        connection, opened["task_id"], at, "opened", task_log.SELF, f"for {to.owner}: {to.why}"
    )


async def _named(connection: Connection, catalogue: DefinitionRegistry, about: Mapping[str, Any]) -> str:
    """Who answers: the account's manager, else the policy's word, else the template's owner."""
    team = catalogue.roster.team
    found = await fetch_one(connection, _PROFILE, key=about["account"]) if about["account"] else None
    manager = loaded(found["profile"]).get(team.owner) if found else None
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


async def close_with_task(connection: Connection, task: int, by: str, at: datetime) -> None:
    """The task of a conversation is closed, and so is the conversation: the run may speak again, and hears of it.

    The caller holds the person and the run's lane.
    """
    found = await fetch_one(connection, _END, task=task, by=by, at=at)
    if found is None:
        return
    data = {name: found[name] for name in ("journey", "template", "channel")} | {
        "message": str(found["message_id"]),
        "by": by,
    }
    once = f"conversation/{found['id']}"
    await execute(
        connection,
        _TELL,
        source=SOURCE_SELF,
        once=once,
        name=CONVERSATION_CLOSED,
        person=found["recipient"],
        at=at,
        data=as_json(data),
    )
    if found["goes_on"]:
        await outbox.enqueue_one(
            connection,
            recipient=found["lane"],
            kind="signal",
            name=CONVERSATION_CLOSED,
            event_id=once,
            at=at,
            data=data,
            target=found["run"],
        )


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
