"""The loop that pushes the feed, put together from settings; without a receiver it only says how long the feed is."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from functools import partial

from prometheus_client import Counter, Gauge

from activities.exports.feed_push import FeedPush, Receiver
from activities.outgoing.client import HttpClient
from activities.outgoing.standard_webhooks import WebhookSigner, signing
from activities.outgoing.url_policy import UrlNotAllowed, check_url
from store.database import Database
from store.exports import feed_push
from worker.composition.providers import ProviderSettings
from worker.loops.loop import run_periodically
from worker.settings import SettingsError

PAUSE_SECONDS = 1.0
"""Between two looks when there was nothing to push."""

MARKS = (24, 64)
"""Bytes of a secret, at least and at most (Standard Webhooks 1.0.0)."""
_HOW = 'Give "whsec_$(openssl rand -base64 32)".'

LAG = Gauge("tenure_feed_lag_seconds", "Age of the oldest line of the feed that has not been pushed")
POSITION = Gauge("tenure_feed_position", "The last line that the receiver has")
TRIES = Gauge("tenure_feed_tries", "Failed tries of the batch in hand")
PUSHED = Counter("tenure_feed_batches_total", "Batches that the receiver took")


class FeedLoop:
    """Rounds until told to stop; with no receiver it has nothing to do and ends at once."""

    def __init__(self, database: Database, push: FeedPush | None) -> None:
        self._database, self._push = database, push

    async def run(self, stop: asyncio.Event, pause: float = PAUSE_SECONDS) -> None:
        """Raises nothing: an outage of the database is waited for."""
        if self._push is not None:
            await run_periodically("feed", partial(self._look, self._push), stop, pause)
            await self._push.close()

    async def _look(self, push: FeedPush) -> bool:
        arrived = await push.round()
        if arrived:
            PUSHED.inc()
        await self._measure()
        return arrived

    async def _measure(self) -> None:
        async with self._database.reading() as connection:
            at, lag = await feed_push.read_position(connection), await feed_push.push_lag(connection)
        LAG.set(lag.seconds)
        POSITION.set(at.position)
        TRIES.set(at.attempts)


def feed_loop(database: Database, given: ProviderSettings) -> FeedLoop:
    """The loop to the receiver that is configured. Raises SettingsError."""
    sign = feed_signing(given)
    if not given.feed_url:
        return FeedLoop(database, None)
    if sign is None:
        raise SettingsError(f"TENURE_FEED_URL is set without TENURE_FEED_SECRET: what is pushed is signed. {_HOW}")
    try:
        check_url(given.feed_url, given.allowed)
    except UrlNotAllowed as fault:
        raise SettingsError(f"TENURE_FEED_URL is not pushed to: {fault}") from None
    return FeedLoop(database, FeedPush(database, HttpClient(given.allowed), Receiver(given.feed_url, sign)))


def feed_signing(given: ProviderSettings) -> WebhookSigner | None:
    """What signs pages and batches; None where no secret is set. Raises SettingsError for one that cannot be read."""
    secrets = [each.strip() for each in given.feed_secret.get_secret_value().split(",") if each.strip()]
    try:
        for each in secrets:
            if not MARKS[0] <= len(b64decode(each.removeprefix("whsec_"), validate=True)) <= MARKS[1]:
                raise ValueError("of another length")
    except ValueError:
        raise SettingsError(f"TENURE_FEED_SECRET is no secret of Standard Webhooks. {_HOW}") from None
    return signing(*secrets) if secrets else None
