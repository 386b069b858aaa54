"""Push of the feed: one signed batch at a time, by one process.

A batch counts as brought only when the receiver has said so and that is committed. A worker that dies in between brings it
again: the same lines under the same `webhook-id`, by which a receiver knows it. Nothing is ever given up, because what comes after a
gap would be worthless: after the schedule's last step it is tried once a day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
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

log = structlog.get_logger()

BATCH: Final = 200
"""Lines; some 150 KB."""
SECONDS: Final = 15.0
KIND: Final = "tenure.feed"
_RETRY: Final = Retry(steps=STEPS)


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where to, and what signs."""

    url: str
    sign: WebhookSigner


class FeedPush:
    """One of any number of processes; the lock lets one at a time act."""

    def __init__(self, database: Database, way: HttpClient, receiver: Receiver) -> None:
        self._database, self._way, self._receiver = database, way, receiver
        self._horizon = feed.Horizon()

    async def round(self) -> bool:
        """Bring one batch, if there is one and its time has come. Whether it arrived, so that more may follow at once."""
        async with self._database.reading() as connection:
            place = await feed_push.read_position(connection)
        if place.due_at is not None and place.due_at > datetime.now(UTC):
            return False
        certain = await self._horizon.look(self._database, wanted=place.position) if place.upto is None else place.upto
        return certain > place.position and await self._fixed(certain) and await self._brought()

    async def _fixed(self, certain: int) -> bool:
        """Whether there is a batch whose end stands in the database, whatever happens next."""
        async with self._database.transaction() as connection:
            if not await lock_if_free(connection, Lock.FEED):
                return False
            place = await feed_push.read_position(connection)
            return place.upto is not None or await feed_push.fix_batch(connection, place, certain, BATCH)

    async def _brought(self) -> bool:
        """The lock is the transaction's: it ends with this process. Nothing is written before the answer, so nobody waits."""
        async with self._database.transaction() as connection:
            if not await lock_if_free(connection, Lock.FEED):
                return False
            place = await feed_push.read_position(connection)
            if place.upto is None or (place.due_at is not None and place.due_at > datetime.now(UTC)):
                return False
            wait, words = await self._try(connection, place, place.upto)
            if wait is None:
                await feed_push.advance_position(connection, place)
                return True
            log.warning("feed.not_pushed", attempt=place.attempts + 1, again_in=int(wait.total_seconds()), why=words)
            await feed_push.record_push_failure(connection, place, datetime.now(UTC) + wait, words)
            return False

    async def _try(self, connection: Connection, place: PushPosition, upto: int) -> tuple[timedelta | None, str]:
        """How long to wait before the next try, or None when it has arrived."""
        lines = await feed.read_lines(connection, place.position, upto, BATCH)
        data = feed_page(lines, place.position, more=False)
        body = orjson.dumps(
            {"type": KIND, "timestamp": lines[-1]["at"] if lines else None, "data": data}, option=orjson.OPT_UTC_Z
        )
        signed = self._receiver.sign(identity(place.position, upto), body)
        headers = {"content-type": "application/json", **signed}
        wait = _RETRY.wait(place.attempts + 1)
        try:
            reply = await self._way.send(HttpRequest("POST", self._receiver.url, headers, body, SECONDS))
        except (UrlNotAllowed, Unanswered) as fault:
            return wait, str(fault)
        if 200 <= reply.status < 300:
            return None, ""
        return _patience(reply, wait), f"answered {reply.status}"

    async def close(self) -> None:
        """Let go of kept connections."""
        await self._way.close()


def _patience(reply: HttpReply, wait: timedelta) -> timedelta:
    """Never sooner than the receiver asks; one that is gone is asked once a day, until an operator says otherwise."""
    if reply.status == 410:
        return STEPS[-1]
    return max(wait, retry_after(reply) or wait)
