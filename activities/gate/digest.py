"""Digests: several messages of one pass as one ledger row with parts (C4).

A part is `merged` and waits for nothing more: it ends as the whole does, and its run hears of it what became of the whole. An
attempt that is known to have failed dissolves the whole: each part is decided again by itself, so a state that was left or a
topic that was refused meanwhile is not said. A whole that may have arrived is never dissolved, because its parts would come
again under keys of their own: it waits as a whole, and goes again as it was or ends `unknown`, and each part with it.
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
AGAIN = timedelta(minutes=1)


async def begin_digest(
    deps: Dependencies,
    connection: Connection,
    parts: Sequence[LedgerEntry],
    alone: Prepared,
    recipient: Recipient,
    now: datetime,
) -> LedgerEntry:
    """Make one message of these. Where it cannot be rendered the first goes `alone`, and the others soon after."""
    whole = _whole(deps, parts, now)
    content = prepare(deps, whole, parts[0].channel or "", recipient, tuple(parts))
    if isinstance(content, CannotSend):
        await _defer(connection, parts[1:], content.detail, now)
        mark_sending(deps, parts[0], alone, now)
        return parts[0]
    mark_sending(deps, whole, content, now)
    for part in parts:
        part.status, part.merged_into, part.sent_at, part.settled_at = Status.MERGED, whole.key, now, now
        part.due_at, part.body, part.lease_until = None, None, None
        await write_message(connection, part)
    return whole


async def end_digest_parts(connection: Connection, whole: LedgerEntry, now: datetime) -> None:
    """It may not go again. What became of it is not known, and so of none of its parts; no run hears of that."""
    why = "; ".join(reason.text for reason in whole.reasons) or whole.detail or ""
    await digests.settle_parts(connection, whole.key, whole.status, why, now)


def _whole(deps: Dependencies, parts: Sequence[LedgerEntry], now: datetime) -> LedgerEntry:
    head = parts[0]
    rule = consolidation(deps.policy, head.priority, head.channel or "")
    assert rule is not None
    tried = [part.first_attempt_at for part in parts if part.first_attempt_at is not None]
    ends = [part.expires_at for part in parts if part.expires_at is not None]
    named = "|".join(sorted(part.key for part in parts)) + f"|{now.isoformat()}"
    return LedgerEntry(
        key=DIGEST_PREFIX + hashlib.sha256(named.encode()).hexdigest()[:32],
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
        expires_at=min(ends, default=None),
        status=Status.DEFERRED,
        decided_at=now,
        definition=head.definition,
        channel=head.channel,
        trace=head.trace,
        attempts=max(part.attempts for part in parts),
        first_attempt_at=min(tried, default=None),
        reasons=(Reason("merged", ", ".join(part.action for part in parts), rule.name),),
    )


async def _defer(connection: Connection, parts: Sequence[LedgerEntry], fault: str, now: datetime) -> None:
    for part in parts:
        part.status, part.due_at, part.ready_at = Status.DEFERRED, now + AGAIN, None
        part.reasons = (Reason("template", f"could not be one message with the others: {fault}"),)
        await write_message(connection, part)
        await outbox.wake_outreach(connection, part.recipient)
