"""Gate transaction of one person: lock, read, decide by the session, write.

The caller holds the lock of every lane that receives an outcome; the read locks the person once more. Under that lock
caps are exact, no two journeys overtake each other, and a consent that was withdrawn stops everything that is decided
later. Nothing is sent from here: a message to send is committed as `sending`, and `activities/delivery` makes the
attempt.

`journeys/gate/session.py` decides what is sent and in which order; this module writes its plan to the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import structlog

from activities.dependencies import Dependencies
from activities.gate.confirmation import confirmation_of
from activities.gate.digest import begin_digest, end_digest_parts
from activities.gate.preparation import address_of, deliver_in_app, mark_sending, prepare, set_channel
from activities.gate.request import request_for_entry
from activities.gate.snapshot import Recipient, read_context
from activities.metrics import count_verdict
from activities.ports import Confirmation, Prepared
from journeys.gate.session import CannotSend, GateSession, GaveWay, MessageDecision
from journeys.gate.status import Status, final_status
from journeys.gate.verdicts import (
    DeferUntil,
    MergeInto,
    Reason,
    RecipientContext,
    Replace,
    SendNow,
    SendRequest,
    Withhold,
)
from store.database import Connection
from store.definitions.catalogue_versions import refuse_if_behind
from store.messages.digests import is_digest
from store.messages.entries import LedgerEntry
from store.messages.ledger import write_message
from store.messages.withdrawals import replace_queued
from store.outbox import queue as outbox
from store.people.subjects import Subject

log = structlog.get_logger()


class GatePass:
    """The messages that are decided together for one locked person, at one instant of their clock."""

    def __init__(
        self,
        deps: Dependencies,
        connection: Connection,
        person: Subject,
        accounts: Mapping[str, Subject] | None,
        now: datetime,
    ) -> None:
        """`accounts` are locked, by key: those that the messages are about, perhaps others too."""
        self.deps, self.connection, self.now = deps, connection, now
        self.recipient = Recipient(person, accounts or {})
        self.gave_way: dict[str, LedgerEntry] = {}
        """Queued messages that were replaced by one of this pass; the caller enqueues their outcomes."""
        self._entries: dict[str, LedgerEntry] = {}
        self._confirmations: dict[str, Confirmation | None] = {}
        self._requests: list[SendRequest] = []
        self._arrived: set[str] = set()
        self._lost: set[str] = set()

    async def add(self, entry: LedgerEntry) -> None:
        """Request a decision on a message. Raises CatalogueBehind if its template comes with a newer version."""
        if entry.template not in self.deps.templates:
            await refuse_if_behind(self.connection, self.deps.version)
        self._entries[entry.key] = entry
        self._confirmations[entry.key] = await confirmation_of(
            self.deps, self.connection, self.recipient, entry, self.now
        )
        self._requests.append(await request_for_entry(self.deps, self.connection, self.recipient, entry))

    async def decide(self) -> list[LedgerEntry]:
        """Decide all messages and write the decisions; those to attempt after the commit.

        The person is read now, after the passes of others in this transaction: their messages to one mailbox count.
        """
        if not self._requests:
            return []
        context = await read_context(self.deps, self.connection, self.recipient, self.now)
        session = GateSession(self.deps.policy, context, self.now)
        plan = session.decide(self._undecided(context), self._prepare)
        for decision in plan.decisions:
            await self._apply(decision)
        attempts = [await self._begin(parts) for parts in plan.together]
        return [entry for entry in attempts if entry is not None]

    def _undecided(self, context: RecipientContext) -> list[SendRequest]:
        """The requests without those of a step that was applied before: their decisions stay."""
        decided = {sent.key for sent in context.sent} | {queued.key for queued in context.queue}
        return [
            request for request in self._requests
            if not (self._entries[request.key].is_new and request.key in decided)
        ]  # fmt: skip

    def outcome(self, entry: LedgerEntry) -> Status | None:
        """The status to report to the message's run; `sent` for a part of a digest that was delivered at once.

        None if another transaction has settled the message since it was read, and has reported it.
        """
        if entry.key in self._lost:
            return None
        return Status.SENT if entry.key in self._arrived else entry.status

    def _prepare(self, request: SendRequest, channel: str) -> Prepared | CannotSend:
        entry, confirm = self._entries[request.key], self._confirmations[request.key]
        return prepare(self.deps, entry, channel, self.recipient, confirm=confirm)

    # -- the plan in the ledger --------------------------------------------------------------------------------------

    async def _apply(self, decision: MessageDecision[Prepared]) -> None:
        """Write the decision on one message. A message to send is only marked here, and written with its group."""
        entry = self._entries[decision.request.key]
        entry.decided_at, entry.due_at, entry.lease_until = self.now, None, None
        match decision.verdict:
            case SendNow(channel, reasons) | MergeInto(_, channel, reasons):
                set_channel(entry, channel, address_of(self.deps, channel, self.recipient))
                entry.reasons = reasons
                if isinstance(decision.content, CannotSend):
                    fault = decision.content
                    entry.detail = fault.detail
                    self._end(entry, fault.status, (*fault.reasons, *reasons))
            case DeferUntil(until, reasons):
                entry.status, entry.due_at, entry.reasons = Status.DEFERRED, until, reasons
                entry.ready_at = decision.ready_at
            case Replace(_, reasons):
                self._end(entry, Status.REPLACED, reasons)
            case Withhold(reasons):
                self._end(entry, Status.WITHHELD, reasons)
        await self._replace(decision.gave_way)
        if decision.sent is None:
            await self._write(entry)

    def _end(self, entry: LedgerEntry, status: Status, reasons: tuple[Reason, ...]) -> None:
        entry.status = final_status(status, in_doubt=entry.in_doubt)
        entry.reasons, entry.settled_at = reasons, self.now

    async def _replace(self, gave_way: Sequence[GaveWay]) -> None:
        if gave_way:
            why = gave_way[0].verdict.reasons[0].text
            keys = [message.key for message in gave_way]
            replaced = await replace_queued(self.connection, keys, why, self.now)
            self.gave_way |= {entry.key: entry for entry in replaced}

    async def _begin(self, parts: Sequence[MessageDecision[Prepared]]) -> LedgerEntry | None:
        """Write one message to send, single or digest; the entry, if an attempt is to follow."""
        entries = [self._entries[part.request.key] for part in parts]
        head, content = entries[0], parts[0].content
        assert isinstance(content, Prepared)
        if len(entries) > 1:
            head = await begin_digest(self.deps, self.connection, entries, content, self.recipient, self.now)
        else:
            mark_sending(self.deps, head, content, self.now)
        body = head.body or b""
        if head.status is Status.SENT:
            head.body = None  # the inbox has it
        if not await self._write(head):
            return None
        if head.status is Status.SENT:
            await deliver_in_app(self.connection, head, body)
            self._arrived |= {entry.key for entry in entries}
        return head if head.status is Status.SENDING else None

    async def _write(self, entry: LedgerEntry) -> bool:
        if not await write_message(self.connection, entry):
            if not entry.is_new:
                self._lost.add(entry.key)
            return False
        if entry.status is Status.DEFERRED:
            await outbox.wake_outreach(self.connection, entry.recipient)
        if is_digest(entry.key) and not entry.is_new and entry.settled_at is not None:
            await end_digest_parts(self.connection, entry, self.now)
        codes = tuple(reason.code for reason in entry.reasons)
        count_verdict(entry.channel, entry.status, codes)
        log.info(
            "gate.decided", status=entry.status, channel=entry.channel, trace=entry.trace,
            reasons=list(codes),
        )  # fmt: skip
        return True
