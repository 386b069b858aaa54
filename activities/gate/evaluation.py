"""The send gate: one transaction per person decides every message of every journey. Locked read, `judge`, write.

The caller holds the lock of everybody whose lane hears the outcome; the read locks the person once more. That lock is
what makes caps exact, two journeys never overtake each other, and a consent that was withdrawn stop what is decided
after it. Nothing leaves from here: what goes out is committed as `sending`, and `delivery.py` makes the attempt.

All that is asked of one person in one transaction is one `GatePass`. What is to go out is rendered before anything is weighed
against it, because what cannot be made takes no place under a cap and replaces nobody; what became one is rendered as one at
its end, when it is known which have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import structlog

from activities.dependencies import Dependencies
from activities.gate import digest
from activities.gate.preparation import deliver_in_app, fields_of, mark_sending, prepare, switch_channel
from activities.ports import Prepared
from journeys.calendar.timezones import zone_of
from journeys.gate.consolidation import MAX_PARTS
from journeys.gate.judge import channel_for, judge
from journeys.gate.policy import horizon
from journeys.gate.status import Status, final_status
from journeys.gate.verdicts import (
    DeferUntil,
    MergeInto,
    QueuedMessage,
    Reason,
    RecipientContext,
    Replace,
    SendNow,
    SendRequest,
    SentMessage,
    Verdict,
    Withhold,
)
from store.database import Connection
from store.messages.digests import is_digest
from store.messages.entries import LedgerEntry
from store.messages.gate_read import lock_and_read
from store.messages.ledger import write_message
from store.messages.withdrawals import replace_queued
from store.outbox import queue as outbox
from store.people.subjects import Subject, account_in

log = structlog.get_logger()


class GatePass:
    """What is decided for one locked person at one instant of their clock."""

    def __init__(
        self,
        deps: Dependencies,
        connection: Connection,
        person: Subject,
        accounts: Mapping[str, Subject] | None,
        now: datetime,
    ) -> None:
        """`accounts` are those that messages of theirs are about, by key, locked; others may be among them."""
        self.deps, self.connection, self.now = deps, connection, now
        self.person, self.accounts = person, accounts or {}
        self.standing: RecipientContext | None = None
        self.going: dict[str, list[LedgerEntry]] = {}
        self.made: dict[str, Prepared] = {}
        self.arrived: set[str] = set()
        self.lost: set[str] = set()
        """Those that somebody else has ended since they were read: what became of them stands."""
        self.gave_way: dict[str, LedgerEntry] = {}
        """Those that waited and were replaced by one of this pass: their runs are to hear it."""

    async def weigh(self, entry: LedgerEntry) -> None:
        """Decide one message. What does not go out is written at once, what does at the end of the pass."""
        if entry.key in self.gave_way:
            return  # it was due as well, and one before it in this pass has its place
        standing = await self.known()
        known = {each.key for each in standing.sent} | {each.key for each in standing.queue}
        if entry.is_new and entry.key in known:
            return  # asked again by a step that was applied before: what was decided stands
        others = tuple(sent for sent in standing.sent if sent.key != entry.key)  # an attempt does not hold itself back
        ask = await self._ask(entry)
        verdict = judge(self.deps.policy, ask, self._by_their_clock(replace(standing, sent=others), ask), self.now)
        entry.decided_at, entry.due_at, entry.lease_until = self.now, None, None
        await self._follow(entry, ask, verdict)
        goes = entry.key in self.made
        self._note(entry, await self.known(), is_part=goes and isinstance(verdict, MergeInto))
        if not goes:
            await self._write(entry)

    async def _follow(self, entry: LedgerEntry, ask: SendRequest, verdict: Verdict) -> None:
        match verdict:
            case SendNow(channel, reasons, replaces):
                if self._make(entry, channel, reasons):
                    self.going[entry.key] = [entry]
                    await self._give_way(replaces, entry)
            case MergeInto(key, channel, reasons):
                if self._make(entry, channel, reasons):
                    self.going[key].append(entry)
            case DeferUntil(until, reasons, replaces):
                entry.status, entry.due_at, entry.reasons = Status.DEFERRED, until, reasons
                waits_for_others = any(reason.code == "consolidating" for reason in reasons)
                entry.ready_at = (entry.ready_at or self.now) if waits_for_others else None
                if replaces and self._could_be_made(entry, ask, await self.known()):
                    await self._give_way(replaces, entry)
            case Replace(_, reasons):
                entry.status, entry.reasons, entry.settled_at = (
                    final_status(Status.REPLACED, in_doubt=entry.in_doubt),
                    reasons,
                    self.now,
                )
            case Withhold(reasons):
                entry.status, entry.reasons, entry.settled_at = (
                    final_status(Status.WITHHELD, in_doubt=entry.in_doubt),
                    reasons,
                    self.now,
                )

    async def would(self, ask: SendRequest) -> Verdict:
        """What would be said now to a message that nobody has asked for."""
        return judge(self.deps.policy, ask, self._by_their_clock(await self.known(), ask), self.now)

    async def close(self) -> list[LedgerEntry]:
        """Write what goes out, several of a kind as one; what is to be attempted after the commit."""
        attempts = []
        for parts in self.going.values():
            entry = parts[0]
            if len(parts) > 1:
                entry = await digest.make_digest(
                    self.deps, self.connection, parts, self.person, self.accounts, self.now
                )
            else:
                mark_sending(self.deps, entry, self.made[entry.key], self.now)
            content, entry.body = entry.body or b"", None if entry.status is Status.SENT else entry.body
            if not await self._write(entry):
                continue
            if entry.status is Status.SENDING:
                attempts.append(entry)
            elif entry.status is Status.SENT:
                await deliver_in_app(self.connection, entry, content)
                self.arrived |= {part.key for part in parts}
        self.going.clear()
        return attempts

    def fate(self, entry: LedgerEntry) -> Status | None:
        """What its run hears: a part of a message that has arrived at once has arrived; of what was lost, nothing from here."""
        if entry.key in self.lost:
            return None
        return Status.SENT if entry.key in self.arrived else entry.status

    async def _write(self, entry: LedgerEntry) -> bool:
        written = await write_message(self.connection, entry)
        if not written:
            if not entry.is_new:
                self.lost.add(entry.key)
            return False
        if entry.status is Status.DEFERRED:
            await outbox.wake_outreach(self.connection, entry.recipient)
        if is_digest(entry.key) and not entry.is_new and entry.settled_at is not None:
            await digest.end_digest_parts(self.connection, entry, self.now)
        log.info(
            "gate.decided", status=entry.status, channel=entry.channel, trace=entry.trace,
            reasons=[r.code for r in entry.reasons],
        )  # fmt: skip
        return True

    async def _give_way(self, keys: tuple[str, ...], entry: LedgerEntry) -> None:
        if keys:
            gone = await replace_queued(self.connection, keys, f"{entry.action} matters more", self.now)
            self.gave_way |= {each.key: each for each in gone}
            standing = await self.known()
            self.standing = replace(standing, queue=tuple(each for each in standing.queue if each.key not in keys))

    # -- content -----------------------------------------------------------------------------------------------------

    def _make(self, entry: LedgerEntry, channel: str, reasons: tuple[Reason, ...]) -> bool:
        """What would go out by this channel; if nothing can, the message has ended and takes nobody's place."""
        switch_channel(entry, channel)
        entry.reasons = reasons
        content = prepare(self.deps, entry, self.person, self.accounts, self.now)
        if content is not None:
            self.made[entry.key] = content
        return content is not None

    def _could_be_made(self, entry: LedgerEntry, ask: SendRequest, standing: RecipientContext) -> bool:
        """Whether what waits could go out as things are: those that wait as well give way to nothing else."""
        channel, _ = channel_for(self.deps.policy, ask, standing)
        tried = replace(entry)
        switch_channel(tried, channel or "")
        return prepare(self.deps, tried, self.person, self.accounts, self.now) is not None

    # -- what is known -----------------------------------------------------------------------------------------------

    async def known(self) -> RecipientContext:
        """Read once, under the lock; then kept in step with what this pass decides."""
        if self.standing is None:
            since = self.now - horizon(self.deps.policy)
            addresses = {
                name: address
                for name, channel in self.deps.channels.items()
                if (address := channel.address(self.person.profile, self.person.key)) is not None
            }
            hashed = self.deps.catalogue.consent.addresses.of_all(addresses)
            found = await lock_and_read(
                self.connection, self.person.key, self.person.account_key, since, self.now, hashed
            )
            # A digest waits only if it may have arrived: nobody goes with it or gives way to it, and it gives way to nobody.
            self.standing = replace(
                found,
                queue=tuple(each for each in found.queue if not is_digest(each.key)),
                addresses=dict.fromkeys(addresses, True),
                zone=self._zone(None),
                role=str(self.person.profile.get("role") or ""),
            )
        return self.standing

    def _note(self, entry: LedgerEntry, standing: RecipientContext, *, is_part: bool) -> None:
        """What the next message of this pass has to know of this one."""
        queue = tuple(queued for queued in standing.queue if queued.key != entry.key)
        if entry.key in self.made:
            sent = SentMessage(
                self.now, entry.channel or "", entry.topic, entry.priority, entry.action, entry.journey,
                entry.template, account_in(entry.subject_key), entry.key, is_part=is_part,
            )  # fmt: skip
            earlier = tuple(each for each in standing.sent if each.key != entry.key)
            open_still = (
                key for key, parts in self.going.items() if len(parts) < MAX_PARTS and not _goes_alone(parts[0])
            )
            standing = replace(standing, sent=(*earlier, sent), heads=frozenset(open_still))
        elif entry.due_at is not None and not is_digest(entry.key):
            rules = frozenset(reason.rule for reason in entry.reasons if reason.rule)
            waiting = QueuedMessage(
                entry.key, entry.due_at, entry.via, entry.topic, entry.priority, entry.action, entry.journey, rules,
                entry.expires_at,
            )  # fmt: skip
            queue = (*queue, waiting)
        self.standing = replace(standing, queue=queue)

    async def _ask(self, entry: LedgerEntry) -> SendRequest:
        why = f"{entry.state} was left" + (f" for {entry.now_in}" if entry.now_in else "")
        account = account_in(entry.subject_key)
        chart = await self.deps.catalogue.chart(self.connection, entry.definition)
        # By the channel of the attempt that may have arrived, or not at all: another would bring it once more.
        tried_by = (entry.channel,) if entry.in_doubt and entry.channel else None
        whole = is_digest(entry.key)
        return SendRequest(
            channels=tried_by or entry.via,
            topic=entry.topic,
            priority=entry.priority,
            at=entry.at,
            expires_at=entry.expires_at,
            stands=entry.stands,
            holds=entry.holds,
            holds_why=why,
            missing=chart.missing(entry.action, self.person.profile, self._fields(account)),
            key=entry.key,
            journey=entry.journey,
            template=entry.template,
            account=None if whole else account,
            ready_at=entry.ready_at,
            topics=digest.topics_of_parts(entry),
            alone=_goes_alone(entry),
            run="" if whole else entry.run,
            roles=chart.roles_for(entry.state, entry.action) if account is not None and not whole else (),
        )

    def _by_their_clock(self, standing: RecipientContext, ask: SendRequest) -> RecipientContext:
        return standing if ask.account is None else replace(standing, zone=self._zone(ask.account))

    def _zone(self, account: str | None) -> str:
        return zone_of(self.person.profile, self._fields(account), self.deps.policy.timezone)

    def _fields(self, account: str | None) -> Mapping[str, Any]:
        return fields_of(self.accounts, self.person, account)


def _goes_alone(entry: LedgerEntry) -> bool:
    """What may have arrived takes nobody along and joins nobody: as another message, with a key of its own, it would come twice."""
    return entry.in_doubt or entry.status is Status.SENDING or is_digest(entry.key)
