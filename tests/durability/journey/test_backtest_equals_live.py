"""A hundred real customers on the real server: every decision equals the backtest's, line by line."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from cli.demonstration.cdnow import CdnowUnavailable, cdnow_file, cdnow_streams
from journeys.checks.checker import publishable_definition
from journeys.decision.chart import Chart
from journeys.decision.compiler import load_chart
from journeys.events.inbound import InboundEvent
from journeys.gate.status import Status
from journeys.language.parsing import read_journey
from journeys.simulation.recording import RecordedEvent
from journeys.simulation.simulator import play_group
from journeys.simulation.timeline import MessageOutcome, Scenario
from worker.composition.catalog import policy
from worker.settings import ROOT
from worker.testing.rehearsal import Rehearsal

SHOP = ROOT / "catalog" / "journeys" / "win-back-and-replenishment.yaml"
CUSTOMERS = 100
AT_ONCE = 8
DECIDED = {"entered", "moved", "fired", "acted", "spent", "guard", "armed", "finished", "send"}
Line = tuple[datetime, str, str]


def _people(begin: datetime) -> list[tuple[str, list[RecordedEvent]]]:
    """Every 200th customer, with their year and a half of events moved to begin now."""
    try:
        streams = cdnow_streams(cdnow_file())
    except CdnowUnavailable as missing:
        pytest.skip(str(missing))
    later = timedelta(days=(begin - datetime(1997, 1, 1, tzinfo=begin.tzinfo)).days + 1)
    return [
        (who, [event._replace(at=event.at + later) for event in events]) for who, events in streams[::200][:CUSTOMERS]
    ]


async def _live(stage: Rehearsal, who: str, events: list[RecordedEvent], until: datetime) -> None:
    calls: list[InboundEvent] = []
    for event in events:
        if event.at > stage.now:
            await stage.accept(*calls)
            calls.clear()
            await stage.forward(event.at)
        calls.append(_call(f"{who}-{len(calls)}-{event.at}", who, event))
    await stage.accept(*calls)
    await stage.forward(until)


def _call(identity: str, who: str, event: RecordedEvent) -> InboundEvent:
    if event.kind == "profile":
        return InboundEvent("identify", identity, "identify", user_id=who, traits=dict(event.data))
    return InboundEvent("track", identity, event.name, user_id=who, data=dict(event.data))


def _chart(stage: Rehearsal) -> Chart:
    journey, _ = read_journey(SHOP.read_text("utf-8"))
    assert journey is not None
    return load_chart(publishable_definition(journey, stage.plan).artifact_text)


async def _lived(stage: Rehearsal, who: str) -> list[Line]:
    rows = await stage.lines(who)
    return [(row["at"], row["about"], row["text"]) for row in rows if row["kind"] in DECIDED]


@pytest.mark.slow
async def test_live_decisions_of_a_hundred_customers_equal_the_backtest(stage: Rehearsal) -> None:
    await stage.publish(SHOP, checked=False)
    people = _people(stage.now)
    until = max(event.at for _, events in people for event in events) + timedelta(days=120)
    semaphore = asyncio.Semaphore(AT_ONCE)

    async def live(who: str, events: list[RecordedEvent]) -> None:
        async with semaphore:
            await _live(await stage.apart(f"clock-{who}"), who, events, until)

    await asyncio.gather(*(live(who, events) for who, events in people))
    scenario = Scenario((_chart(stage),), policy(ROOT / "catalog"), frozenset({"in_app"}))
    for who, events in people:
        world = play_group(scenario, events, until)
        expected = [(line.at, line.about, line.text) for line in world.lines() if line.kind in DECIDED]
        assert await _lived(stage, who) == expected, who
        sent = [
            item.message.template
            for _, item in world.timeline
            if isinstance(item, MessageOutcome) and item.kind == Status.SENT
        ]
        assert sorted(await stage.sent(who)) == sorted(sent), who
    mails = [message for message in await stage.messages() if message["channel"] == "email"]
    assert stage.mail.count() == len(mails)
