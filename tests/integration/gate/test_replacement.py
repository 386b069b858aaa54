"""Replacement by priority: a message that cannot be rendered replaces none and counts for no cap (C6)."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from activities.channels.in_app import InAppChannel
from activities.delivery import outreach
from activities.dependencies import Dependencies
from activities.steps import apply as steps
from journeys.events.inbound import InboundEvent
from journeys.gate.policy import load_policy
from journeys.protocol import wire
from store.database import Database, execute, fetch_all, sql
from store.definitions.registry import DefinitionRegistry
from store.events import ingest
from tests.support.provider import templates
from tests.support.steps import first_steps, publish
from worker.settings import ROOT

JOURNEY = """
journey: {name}
entry: {{on: signed_up, again: never}}
priority: {priority}
topic: notices
start: here
states:
  here: {{do: [{{send: {template}, name: it, via: [in_app]}}], on: {{it.sent: done, it.withheld: kept, it.failed: lost}}}}
  done: {{final: done}}
  kept: {{final: kept}}
  lost: {{final: lost}}
"""
SOUND, RETIRED = "export/ready", "no/such-template"
COOLING = {"cooldowns": [{"name": "breath", "between": "PT1H"}]}
_LATER = sql("UPDATE messages SET sent_at = sent_at - interval '1 day', due_at = clock_timestamp()")


@dataclass
class Ada:
    """A person and several journeys, each of which requests its message when the test decides."""

    deps: Dependencies
    steps: dict[tuple[str, str], dict[str, Any]]

    async def begin(self, rules: dict[str, Any], **asking: tuple[str, str]) -> None:
        """Enter these journeys; `asking` has the priority and template of each one's message."""
        policy = load_policy({"consent": [{"default": "granted"}], **rules})
        self.deps = replace(self.deps, policy=policy)
        for name, (priority, template) in asking.items():
            await publish(self.deps.database, JOURNEY.format(name=name, priority=priority, template=template))
        known = InboundEvent("identify", "i", "identify", user_id="ada", traits={"first_name": "Ada"})
        entered = InboundEvent("track", "e", "signed_up", user_id="ada")
        await ingest.accept(self.deps.database, self.deps.catalogue, [known, entered], source="test")
        self.steps = await first_steps(self.deps.database, self.deps.catalogue, "signed_up")

    async def request(self, journey: str) -> None:
        step = wire.StepInput(**self.steps["ada", journey])
        await steps.apply_step(self.deps, wire.StepInput(**{**asdict(step), "now": datetime.now(UTC).isoformat()}))

    async def a_day_later(self, *, asking: str = "") -> None:
        """A day later: settle what is due, or let the journey `asking` request its message before that."""
        async with self.deps.database.transaction() as connection:
            await execute(connection, _LATER)
        if asking:
            await self.request(asking)
            return
        person = (await self.rows("SELECT key FROM subjects"))[0]["key"]
        await outreach.settle_due(self.deps, wire.SettleInput(person, datetime.now(UTC).isoformat()), {})

    async def statuses(self) -> dict[str, str]:
        return {row["journey"]: row["status"] for row in await self.rows("SELECT journey, status FROM messages")}

    async def outcomes(self) -> set[tuple[str, str]]:
        rows = await self.rows("SELECT o.name, r.journey FROM outbox o JOIN runs r ON r.id = o.target")
        return {(row["journey"], row["name"]) for row in rows if row["name"].startswith("it.")}

    async def rows(self, statement: str) -> list[Any]:
        async with self.deps.database.reading() as connection:
            return list(await fetch_all(connection, sql(statement)))


@pytest_asyncio.fixture
async def ada(database_url: str, tmp_path: Path) -> AsyncIterator[Ada]:
    database = Database(database_url, pool=2)
    channels = {"in_app": InAppChannel(templates(tmp_path))}
    yield Ada(Dependencies(database, DefinitionRegistry(), load_policy(None), channels), {})
    await database.close()


@pytest.mark.parametrize(("template", "offer"), [(SOUND, "replaced"), (RETIRED, "deferred")])
async def test_C6_a_queued_message_is_replaced_only_by_one_that_can_be_rendered(
    ada: Ada, template: str, offer: str
) -> None:
    asking = {"news": ("lifecycle", SOUND), "offer": ("promotional", SOUND), "help": ("lifecycle", template)}
    await ada.begin(COOLING, **asking)
    await ada.request("news")
    await ada.request("offer")
    await ada.a_day_later(asking="help")
    assert (await ada.statuses())["offer"] == offer
    assert (await ada.statuses())["help"] == ("sent" if template == SOUND else "failed")
    assert (("offer", "it.withheld") in await ada.outcomes()) == (template == SOUND)
    if template == RETIRED:
        await ada.a_day_later()
        assert (await ada.statuses())["offer"] == "sent"


@pytest.mark.parametrize(("template", "offer"), [(SOUND, "replaced"), (RETIRED, "deferred")])
async def test_C6_a_queued_message_is_replaced_only_by_a_queued_one_that_can_be_rendered(
    ada: Ada, template: str, offer: str
) -> None:
    asking = {"news": ("lifecycle", SOUND), "offer": ("promotional", SOUND), "help": ("lifecycle", template)}
    await ada.begin(COOLING, **asking)
    for name in asking:
        await ada.request(name)
    assert await ada.statuses() == {"news": "sent", "offer": offer, "help": "deferred"}
    await ada.a_day_later()
    expected = ("sent", "replaced") if template == SOUND else ("failed", "sent")
    assert ((await ada.statuses())["help"], (await ada.statuses())["offer"]) == expected


async def test_C2_a_message_that_cannot_be_rendered_does_not_count_for_a_cap(ada: Ada) -> None:
    cap = {"caps": [{"name": "one", "limit": 1, "window": "PT1H"}]}
    await ada.begin(cap, news=("lifecycle", SOUND), broken=("lifecycle", RETIRED), tip=("lifecycle", SOUND))
    for name in ("news", "broken", "tip"):
        await ada.request(name)
    await ada.a_day_later()
    assert await ada.statuses() == {"news": "sent", "broken": "failed", "tip": "sent"}


async def test_C4_a_part_that_cannot_be_rendered_is_left_out_of_its_digest(ada: Ada, tmp_path: Path) -> None:
    (tmp_path / "digest").mkdir()
    shutil.copy(ROOT / "catalog" / "templates" / "digest" / "together.md", tmp_path / "digest")
    ada.deps = replace(ada.deps, channels={"in_app": InAppChannel(templates(tmp_path))})
    rules = {**COOLING, "consolidate": [{"name": "one", "channel": "in_app", "window": "PT4H"}]}
    await ada.begin(rules, **{name: ("lifecycle", RETIRED if name == "c" else SOUND) for name in ("a", "b", "c", "d")})
    for name in ("a", "b", "c", "d"):
        await ada.request(name)
    await ada.a_day_later()
    assert await ada.statuses() == {"a": "sent", "b": "merged", "c": "failed", "d": "merged", "": "sent"}
