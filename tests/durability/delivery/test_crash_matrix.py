"""A process dies at every point × on every adapter: what its class promises holds to the unit, by ledger and provider.

The step is applied in a child that dies; then comes what Temporal does, the same step again in another process, and the
person's outreach until nothing is owed. The providers of the test count what they really took.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from activities.channels.push.web_push import padless
from activities.gate import evaluation
from activities.ports import Promise
from journeys.events.inbound import InboundEvent
from store.database import execute, sql
from store.events import ingest
from tests.conftest import ROOT
from tests.storm.cell_setup import CellRunner, Config
from tests.storm.crash_cells import (
    ADAPTERS,
    POINTS,
    Cell,
    CellResult,
    broken_promise,
    broken_promise_after_two,
    cells,
)
from tests.storm.killing_provider import KillingProviders, serve_killing
from tests.storm.naive_worker import send_then_record
from tests.support.provider import URGENT, google_key
from tests.support.steps import first_steps, publish

PATIENCE = 30.0
JOURNEY = """
journey: {name}
entry: {{on: enter_{name}, again: never}}
priority: transactional
start: here
states:
  here:
    do: [{{send: crash/ready, name: it, via: [{via}], data: {data}}}]
    on: {{left: done}}
  done: {{final: done}}
"""
_LEDGER = sql("SELECT status, recipient FROM messages WHERE run = :run")
_LEASES = sql("SELECT max(lease_until) - clock_timestamp() AS left FROM messages WHERE status = 'sending'")
_STUCK = sql("SELECT count(*) AS n FROM messages WHERE status IN ('sending', 'deferred')")
_INBOX = sql("SELECT count(*) AS n FROM inbox WHERE recipient = :person")
_MEMBER = sql(
    """
    INSERT INTO audiences (audience, subject_key, changed_at, member)
    SELECT value, subject_key, clock_timestamp(), true FROM identities WHERE value = ANY(CAST(:markers AS text[]))
    """
)
_TASK = sql(
    """
    INSERT INTO tasks (key, run, subject_key, journey, action, task, owner, opened_at, data, why)
    VALUES ('a-task', 'r', 'u_1', 'renewal', 'call', 'call', 'dana', now(), '{}', 'dana is named')
    """
)
_LEASE_OVER = sql("UPDATE task_mirrors SET next_at = '-infinity' WHERE mirror = :marker")


@dataclass
class Matrix:
    """One matrix from beginning to end."""

    stand: CellRunner
    killing: KillingProviders
    folder: Path

    async def seen(self, chosen: Sequence[Cell]) -> list[CellResult]:
        """Let each die, then let others go on, and look."""
        exits = await _deaths(self.stand.config, self.folder)
        return await self._gone_on(chosen, exits)

    async def seen_after_two(self, chosen: Sequence[Cell], points: Sequence[str]) -> list[CellResult]:
        """The same, but those who go on first die too, if they come to these points."""
        exits = await _deaths(self.stand.config, self.folder)
        (leases,) = await self.stand.rows(_LEASES)
        await asyncio.sleep(max(0.0, leases["left"].total_seconds()) if leases["left"] else 0.0)
        second = [replace(cell, point=point) for cell, point in zip(chosen, points, strict=True)]
        self.killing.arm(second)
        config = replace(self.stand.config, again=True, cells=[each.as_json() for each in second])
        died = await _deaths(config, self.folder)
        assert 1 not in died.values(), (self.folder / "deaths.log").read_text()
        return await self._gone_on(chosen, exits)

    async def _gone_on(self, chosen: Sequence[Cell], exits: Mapping[str, int]) -> list[CellResult]:
        async def one(cell: Cell) -> CellResult:
            async with asyncio.timeout(PATIENCE):
                await self._others_go_on(cell)
            return await self._look(cell, exits[cell.marker])

        return await asyncio.gather(*map(one, chosen))

    async def _others_go_on(self, cell: Cell) -> None:
        if cell.target.kind == "task":
            async with self.stand.database.transaction() as connection:
                await execute(connection, _LEASE_OVER, marker=cell.marker)
        await self.stand.finish(cell)

    async def _look(self, cell: Cell, code: int) -> CellResult:
        if cell.target.kind != "message":
            return CellResult(cell, code, self.killing.taken(cell))
        (message,) = await self.stand.rows(_LEDGER, run=self.stand.config.steps[cell.marker]["run"])
        taken = self.killing.taken(cell)
        if cell.target.vendor == "inbox":
            taken = (await self.stand.rows(_INBOX, person=message["recipient"]))[0]["n"]
        return CellResult(cell, code, taken, message["status"])

    async def stuck(self) -> int:
        return int((await self.stand.rows(_STUCK))[0]["n"])


async def _deaths(config: Config, folder: Path) -> dict[str, int]:
    """Every cell's child, each with its exit code."""
    (folder / "config.json").write_text(json.dumps(asdict(config)))
    with (folder / "deaths.log").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.storm.dying_process", str(folder / "config.json"),
            cwd=ROOT, stdout=output, stderr=output,
        )  # fmt: skip
        assert await process.wait() == 0, (folder / "deaths.log").read_text()
    found: dict[str, int] = json.loads((folder / "exits.json").read_text())
    return found


@contextlib.asynccontextmanager
async def matrix(
    database_url: str, folder: Path, chosen: Sequence[Cell], *, naive: bool = False
) -> AsyncIterator[Matrix]:
    """Providers that listen, people who have entered, and the step of each that is to be applied."""
    (folder / "templates" / "crash").mkdir(parents=True)
    text = URGENT.replace("Your export is ready. It", "{{ profile.first_name }}: your export is ready. It")
    (folder / "templates" / "crash" / "ready.md").write_text(text)
    killing = KillingProviders(folder, chosen)
    async with serve_killing(killing) as places:
        known = [each.as_json() for each in chosen]
        config = Config(database_url, places.provider, places.relay, str(folder), google_key(), known, naive=naive)
        stand = CellRunner(config)
        try:
            stand.config = replace(config, steps=await _entered(stand, chosen, places.provider))
            yield Matrix(stand, killing, folder)
        finally:
            await stand.close()


async def _entered(stand: CellRunner, chosen: Sequence[Cell], provider: str) -> dict[str, dict[str, Any]]:
    for name in {each.adapter for each in chosen if each.target.kind == "message"}:
        of = ADAPTERS[name]
        await publish(stand.database, JOURNEY.format(name=of.name, via=of.via, data=of.data or "{}"))
    calls = [call for number, cell in enumerate(chosen) for call in _calls(cell, number, provider)]
    await ingest.accept(stand.database, stand.catalogue, calls, source="test")
    async with stand.database.transaction() as connection:
        await execute(connection, _MEMBER, markers=[each.marker for each in chosen if each.target.kind == "audience"])
        if any(each.target.kind == "task" for each in chosen):
            await execute(connection, _TASK)
    found = await first_steps(stand.database, stand.catalogue, "enter_{journey}")
    return {who: step for (who, _), step in found.items()}


POINT = padless(bytes.fromhex("046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
                              "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"))  # fmt: skip
"""The generator of P-256, which is a browser's key like any other."""


def _calls(cell: Cell, number: int, provider: str) -> list[InboundEvent]:
    traits = {
        "email": f"{cell.marker}@people.example",
        "first_name": cell.marker,
        "phone": f"+4915112340{number:03}",
        "push_token": f"device-{cell.marker}",
        "push_subscription": json.dumps(
            {"endpoint": f"{provider}/webpush/{cell.marker}", "keys": {"p256dh": POINT, "auth": padless(b"k" * 16)}}
        ),
        "chat_channel": cell.marker.upper(),
        "handle": cell.marker,
    }
    entered = InboundEvent("track", f"{cell.marker}-enter", f"enter_{cell.adapter}", user_id=cell.marker)
    known = InboundEvent("identify", f"{cell.marker}-known", "identify", user_id=cell.marker, traits=traits)
    return [known, entered] if cell.target.kind == "message" else [known]


async def test_a_death_at_any_point_on_any_adapter_keeps_the_promise_of_its_class(
    database_url: str, tmp_path: Path
) -> None:
    chosen = cells()
    async with matrix(database_url, tmp_path, chosen) as found:
        seen = await found.seen(chosen)
        faults = {f"{each.cell.adapter} {each.cell.point}": why for each in seen if (why := broken_promise(each))}
        assert not faults, "\n".join(f"{where}: {why}" for where, why in faults.items())
        assert await found.stuck() == 0, "every message has come to its end"


async def test_whoever_dies_again_while_going_on_leaves_every_message_at_an_end_that_its_class_allows(
    database_url: str, tmp_path: Path
) -> None:
    seed = int(os.environ.get("TENURE_STORM_SEED") or random.SystemRandom().randrange(10_000))
    chance = random.Random(seed)
    talking = [each for each in ADAPTERS.values() if each.kind == "message"]
    drawn = [(each.name, chance.choice(each.points)) for _ in range(2) for each in talking]
    chosen = [Cell(f"cell{number:03}x", adapter, point) for number, (adapter, point) in enumerate(drawn)]
    async with matrix(database_url, tmp_path, chosen) as found:
        seen = await found.seen_after_two(chosen, [chance.choice(POINTS) for _ in chosen])
        faults = {
            f"{each.cell.adapter} {each.cell.point}": why for each in seen if (why := broken_promise_after_two(each))
        }
        assert not faults, f"TENURE_STORM_SEED={seed}: {faults}"
        assert await found.stuck() == 0, f"TENURE_STORM_SEED={seed}"


async def test_the_matrix_bites_who_sends_before_recording_doubles_on_all_that_take_no_key(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyed = {name for name, each in ADAPTERS.items() if each.promise is Promise.KEYED}
    chosen = [each for each in cells(("acceptance-after",), ("message",)) if each.adapter not in keyed]
    monkeypatch.setattr(evaluation.GatePass, "add", send_then_record)
    async with matrix(database_url, tmp_path, chosen, naive=True) as found:
        doubled = {each.cell.adapter for each in await found.seen(chosen) if each.taken == 2}
    assert doubled == {each.adapter for each in chosen} - {"webinar", "ticket"}, "which know who comes again"
