"""Loop of sender refusals: slows and stops refused channels, closes what is quiet."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterable, Mapping
from typing import Final

import structlog
from prometheus_client import Gauge

from activities.channels.allow_list import AllowListedChannel
from activities.outgoing.guarded_channel import GuardedChannel
from activities.outgoing.rate_limit import Rate
from activities.ports import Channel
from journeys.consent.refusal_response import RefusalResponse
from store.database import Database
from store.messages import sender_refusals
from store.rows import RowDict
from worker.loops.loop import run_periodically

log = structlog.get_logger()

POLL_SECONDS: Final = 10.0
SLOW: Final = Rate(per_second=1.0, burst=1)
"""Attempts of a channel and process while its provider refuses us: enough to see when it ends."""
_NONE: Final = RefusalResponse.NONE
REFUSALS = Gauge(
    "tenure_sender_refusals", "Messages that providers refused because of us, of the open refusals", ["channel"]
)


async def watch_sender_refusals(
    database: Database, channels: Mapping[str, Channel], stop: asyncio.Event, every: float = POLL_SECONDS
) -> None:
    """Check every few seconds until `stop` is set. Only a person releases a kill switch that this engages."""

    async def poll() -> bool:
        async with database.transaction() as connection:
            for refusal in await sender_refusals.close_quiet(connection):
                log.info("sender.quiet", channel=refusal["channel"], code=refusal["code"])
            refusals = await sender_refusals.open_refusals(connection)
            responses = await sender_refusals.responses(connection)
        show(refusals)
        slow_channels(channels, {refusal["channel"] for refusal, response in responses if response is not _NONE})
        for refusal, response in responses:
            if response is RefusalResponse.STOP:
                await _stop(database, refusal)
        return False

    await run_periodically("sender_refusals", poll, stop, every)


async def _stop(database: Database, refusal: RowDict) -> None:
    async with database.transaction() as connection:
        is_stopped = await sender_refusals.stop_channel(connection, refusal)
    if is_stopped:
        log.error("sender.stopped_channel", channel=refusal["channel"], code=refusal["code"], turn="operator")


def show(refusals: Iterable[RowDict]) -> None:
    """Set the gauge to the open refusals."""
    times: dict[str, int] = {}
    for refusal in refusals:
        times[refusal["channel"]] = times.get(refusal["channel"], 0) + refusal["times"]
    REFUSALS.clear()
    for channel, number in times.items():
        REFUSALS.labels(channel).set(number)


def slow_channels(channels: Mapping[str, Channel], refused: Container[str]) -> None:
    """Slow the refused channels, and no other."""
    for name, channel in channels.items():
        guarded = channel.channel if isinstance(channel, AllowListedChannel) else channel
        if isinstance(guarded, GuardedChannel):
            guarded.slow(SLOW if name in refused else None)
