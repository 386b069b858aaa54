"""Digests: several messages of one pass as one ledger row with parts (C4).

A part is `merged`: it ends as the digest does, and its run receives the outcome of the digest. A digest whose attempt
is known to have failed is dissolved: each part is decided again by itself, so a message whose state was left, or whose
topic was refused meanwhile, is not sent. A digest that may have arrived is never dissolved, because its parts would
arrive again under their own keys: it is sent again unchanged, or ends `unknown` with its parts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta

from activities.dependencies import Dependencies
from activities.gate.preparation import mark_sending, prepare
from activities.gate.snapshot import Recipient
from activities.ports import Prepared
from journeys.gate.consolidation import consolidation
from journeys.gate.session import CannotSend
from journeys.gate.status import Status
from journeys.gate.verdicts import Reason
from store.database import Connection
from store.messages import digests
from store.messages.digests import DIGEST_PREFIX
from store.messages.entries import LedgerEntry
from store.messages.ledger import write_message
from store.outbox import queue as outbox

ACTION = "digest"
RETRY_AFTER = timedelta(minutes=1)


async def begin_digest(
    deps: Dependencies,
    connection: Connection,
    parts: Sequence[LedgerEntry],
    alone: Prepared,
    recipient: Recipient,
    now: datetime,
) -> LedgerEntry:
    """Make one message of these parts. If it cannot be rendered, the first is sent `alone`, the others soon after."""
    digest = _digest_entry(deps, parts, now)
    content = prepare(deps, digest, parts[0].channel or "", recipient, tuple(parts))
    if isinstance(content, CannotSend):
        await _defer(connection, parts[1:], content.detail, now)
        mark_sending(deps, parts[0], alone, now)
        return parts[0]
    mark_sending(deps, digest, content, now)
    for part in parts:
        part.status, part.merged_into, part.sent_at, part.settled_at = Status.MERGED, digest.key, now, now
        part.due_at, part.body, part.lease_until, part.address_hash = None, None, None, digest.address_hash
        await write_message(connection, part)
    return digest


async def end_digest_parts(connection: Connection, digest: LedgerEntry, now: datetime) -> None:
    """End the parts of a digest that may not be sent again. Its result is unknown, so their runs get no outcome."""
    why = "; ".join(reason.text for reason in digest.reasons) or digest.detail or ""
    await digests.settle_parts(connection, digest.key, digest.status, why, now)


def _digest_entry(deps: Dependencies, parts: Sequence[LedgerEntry], now: datetime) -> LedgerEntry:
    head = parts[0]
    rule = consolidation(deps.policy, head.priority, head.channel or "")
    assert rule is not None
    tried = [part.first_attempt_at for part in parts if part.first_attempt_at is not None]
    expiries = [part.expires_at for part in parts if part.expires_at is not None]
    identity = "|".join(sorted(part.key for part in parts)) + f"|{now.isoformat()}"
    return LedgerEntry(
        key=DIGEST_PREFIX + hashlib.sha256(identity.encode()).hexdigest()[:32],
        run=head.run,
        step=head.step,
        subject_key=head.subject_key,
        recipient=head.recipient,
        journey="",
        state=head.state,
        visit=head.visit,
        action=ACTION,
        template=rule.template,
        via=(head.channel or "",),
        topic=None,
        priority=head.priority,
        data={"topics": [part.topic for part in parts]},
        stands=False,
        at=max(part.at for part in parts),
        expires_at=min(expiries, default=None),
        status=Status.DEFERRED,
        decided_at=now,
        definition=head.definition,
        channel=head.channel,
        trace=head.trace,
        clock=head.clock,
        attempts=max(part.attempts for part in parts),
        first_attempt_at=min(tried, default=None),
        reasons=(Reason("merged", ", ".join(part.action for part in parts), rule.name),),
    )


async def _defer(connection: Connection, parts: Sequence[LedgerEntry], fault: str, now: datetime) -> None:
    for part in parts:
        part.status, part.due_at, part.ready_at = Status.DEFERRED, now + RETRY_AFTER, None
        part.reasons = (Reason("template", f"could not be combined with the others: {fault}"),)
        await write_message(connection, part)
        await outbox.wake_outreach(connection, part.recipient)
