"""Push of the feed: one signed batch at a time, by one process.

A batch counts as pushed once the receiver has accepted it and that is committed. After a crash in between, the same lines are sent
again under the same `webhook-id`. No batch is given up, because later lines are worthless after a gap: after the schedule's last
step it is tried once a day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import orjson
import structlog

from activities.channels.http.reply_tables import retry_after
from activities.outgoing.client import HttpClient, HttpReply, HttpRequest, Unanswered
from activities.outgoing.standard_webhooks import STEPS, WebhookSigner
from activities.outgoing.url_policy import UrlNotAllowed
from activities.ports import Retry
from journeys.gate.feed import feed_page, identity
from store.database import Connection, Database
from store.exports import feed, feed_push
from store.exports.feed_push import PushPosition
from store.locks import Lock, lock_if_free
from store.process_clock import current_instant

log = structlog.get_logger()

BATCH: Final = 200
"""Lines of a batch, about 150 KB."""
SECONDS: Final = 15.0
"""Limit of one call."""
KIND: Final = "tenure.feed"
_RETRY: Final = Retry(steps=STEPS)


@dataclass(frozen=True, slots=True)
class Receiver:
    """URL and signer of a receiver."""

    url: str
    sign: WebhookSigner


class FeedPush:
    """Pushes the feed. Of any number of processes one at a time holds the lock."""

    def __init__(self, database: Database, http: HttpClient, receiver: Receiver) -> None:
        self._database, self._http, self._receiver = database, http, receiver
        self._horizon = feed.Horizon()

    async def round(self) -> bool:
        """Push one batch if there is one and it is due. True if it was accepted, so that another may follow at once."""
        async with self._database.reading() as connection:
            position = await feed_push.read_position(connection)
        if position.due_at is not None and position.due_at > current_instant():
            return False
        certain = (
            await self._horizon.look(self._database, wanted=position.position)
            if position.upto is None
            else position.upto
        )
        return certain > position.position and await self._fix_batch(certain) and await self._push()

    async def _fix_batch(self, certain: int) -> bool:
        """Whether there is a batch whose end is recorded, so that a retry sends the same lines."""
        async with self._database.transaction() as connection:
            if not await lock_if_free(connection, Lock.FEED):
                return False
            position = await feed_push.read_position(connection)
            return position.upto is not None or await feed_push.fix_batch(connection, position, certain, BATCH)

    async def _push(self) -> bool:
        """Push the recorded batch. The lock ends with the transaction, and nothing is written before the answer."""
        async with self._database.transaction() as connection:
            if not await lock_if_free(connection, Lock.FEED):
                return False
            position = await feed_push.read_position(connection)
            if position.upto is None or (position.due_at is not None and position.due_at > current_instant()):
                return False
            wait, reason = await self._attempt(connection, position, position.upto)
            if wait is None:
                await feed_push.advance_position(connection, position)
                return True
            log.warning(
                "feed.not_pushed", attempt=position.attempts + 1, again_in=int(wait.total_seconds()), why=reason
            )
            await feed_push.record_push_failure(connection, position, current_instant() + wait, reason)
            return False

    async def _attempt(self, connection: Connection, position: PushPosition, upto: int) -> tuple[timedelta | None, str]:
        """None if the receiver accepted the batch; else the wait before the next attempt, and the reason."""
        lines = await feed.read_lines(connection, position.position, upto, BATCH)
        data = feed_page(lines, position.position, more=False)
        body = orjson.dumps(
            {"type": KIND, "timestamp": lines[-1]["at"] if lines else None, "data": data}, option=orjson.OPT_UTC_Z
        )
        signed = self._receiver.sign(identity(position.position, upto), body)
        headers = {"content-type": "application/json", **signed}
        wait = _RETRY.wait(position.attempts + 1)
        try:
            reply = await self._http.send(HttpRequest("POST", self._receiver.url, headers, body, SECONDS))
        except (UrlNotAllowed, Unanswered) as error:
            return wait, str(error)
        if 200 <= reply.status < 300:
            return None, ""
        return _wait_after(reply, wait), f"answered {reply.status}"

    async def close(self) -> None:
        """Close kept connections."""
        await self._http.close()


def _wait_after(reply: HttpReply, wait: timedelta) -> timedelta:
    """Wait after a rejection: at least what the receiver asks, and a day after 410 until an operator restarts the push."""
    if reply.status == 410:
        return STEPS[-1]
    return max(wait, retry_after(reply) or wait)
