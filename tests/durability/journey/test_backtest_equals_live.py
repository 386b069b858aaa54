"""Real customers on the real server: every decision equals the backtest's, line by line.

A hundred are played in memory. On the server are played so many of them that each kind of decision, and each pair of
successive ones, occurs three times or as often as among the hundred: another of the same kind would cost time and show nothing.
`make demo` plays 150 customers.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import pairwise

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
from journeys.simulation.world import World
from worker.composition.catalog import policy
from worker.settings import ROOT
from worker.testing.rehearsal import Rehearsal

SHOP = ROOT / "catalog" / "journeys" / "win-back-and-replenishment.yaml"
CUSTOMERS = 100
TIMES = 3
AT_ONCE = 8
DECIDED = {"entered", "moved", "fired", "acted", "spent", "guard", "armed", "finished", "send"}
Line = tuple[datetime, str, str]
Customer = tuple[str, list[RecordedEvent]]
_VALUES = re.compile(r"[\d:.T+-]+")
"""Instants and numbers in a line: two lines that differ by them alone are of one kind."""


def _people(begin: datetime) -> list[Customer]:
    """Every 200th customer, with their year and a half of events moved to begin now."""
    try:
        streams = cdnow_streams(cdnow_file())
    except CdnowUnavailable as missing:
        pytest.skip(str(missing))
    later = timedelta(days=(begin - datetime(1997, 1, 1, tzinfo=begin.tzinfo)).days + 1)
    return [
        (who, [event._replace(at=event.at + later) for event in events]) for who, events in streams[::200][:CUSTOMERS]
    ]


def _kinds(world: World) -> Counter[object]:
    """The kinds of a life's decisions, of pairs of successive ones, and of results of messages."""
    lines = [(line.kind, line.about, _VALUES.sub("#", line.text)) for line in world.lines() if line.kind in DECIDED]
    results = [(item.message.template, item.kind) for _, item in world.timeline if isinstance(item, MessageOutcome)]
    return Counter([*lines, *pairwise(lines), *results])


def _representatives(worlds: Mapping[str, World]) -> set[str]:
    """Few people whose lives have every kind of all lives, `TIMES` times or as often as there are."""
    kinds = {who: _kinds(world) for who, world in worlds.items()}
    missing = Counter({kind: min(TIMES, count) for kind, count in sum(kinds.values(), Counter()).items()})
    chosen: set[str] = set()
    while missing:
        best = max(kinds.keys() - chosen, key=lambda who: ((missing & kinds[who]).total() / kinds[who].total(), who))
        chosen.add(best)
        missing -= kinds[best]
    return chosen


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
async def test_live_decisions_of_real_customers_equal_the_backtest(stage: Rehearsal) -> None:
    await stage.publish(SHOP, checked=False)
    people = _people(stage.now)
    until = max(event.at for _, events in people for event in events) + timedelta(days=120)
    scenario = Scenario((_chart(stage),), policy(ROOT / "catalog"), frozenset({"in_app"}))
    worlds = {who: play_group(scenario, events, until) for who, events in people}
    chosen = _representatives(worlds)
    semaphore = asyncio.Semaphore(AT_ONCE)

    async def live(who: str, events: list[RecordedEvent]) -> None:
        async with semaphore:
            await _live(await stage.apart(f"clock-{who}"), who, events, until)

    await asyncio.gather(*(live(who, events) for who, events in people if who in chosen))
    for who in chosen:
        world = worlds[who]
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
