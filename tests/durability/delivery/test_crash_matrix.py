"""A process is killed at every point of every adapter: ledger and provider keep the promise of its class.

The step is applied in a child process that is killed; then, as Temporal does, another process applies it again, and the
person's outreach runs until nothing is due. The providers of the test count what they accepted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
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
from tests.support.forked import ForkedProcess
from tests.support.provider import URGENT, google_key
from tests.support.steps import first_steps, publish
from worker.stack.components import python_module

TIMEOUT_SECONDS = 30.0
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
    """The cells of one matrix with their providers."""

    runner: CellRunner
    killing: KillingProviders
    folder: Path

    async def seen(self, chosen: Sequence[Cell]) -> list[CellResult]:
        """Kill each cell's process, let others recover, and read the results."""
        exits = await _run_dying_processes(self.runner.config, self.folder)
        return await self._recovered(chosen, exits)

    async def seen_after_two(self, chosen: Sequence[Cell], points: Sequence[str]) -> list[CellResult]:
        """The same, but the first recovery of each cell is killed too, if it reaches its second point."""
        exits = await _run_dying_processes(self.runner.config, self.folder)
        (leases,) = await self.runner.rows(_LEASES)
        await asyncio.sleep(max(0.0, leases["left"].total_seconds()) if leases["left"] else 0.0)
        second_cells = [replace(cell, point=point) for cell, point in zip(chosen, points, strict=True)]
        self.killing.arm(second_cells)
        config = replace(self.runner.config, again=True, cells=[cell.as_json() for cell in second_cells])
        died = await _run_dying_processes(config, self.folder)
        assert 1 not in died.values(), (self.folder / "deaths.log").read_text()
        return await self._recovered(chosen, exits)

    async def _recovered(self, chosen: Sequence[Cell], exits: Mapping[str, int]) -> list[CellResult]:
        async def recovered(cell: Cell) -> CellResult:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await self._recover(cell)
            return await self._look(cell, exits[cell.marker])

        return await asyncio.gather(*map(recovered, chosen))

    async def _recover(self, cell: Cell) -> None:
        if cell.target.kind == "task":
            async with self.runner.database.transaction() as connection:
                await execute(connection, _LEASE_OVER, marker=cell.marker)
        await self.runner.finish(cell)

    async def _look(self, cell: Cell, code: int) -> CellResult:
        if cell.target.kind != "message":
            return CellResult(cell, code, self.killing.taken(cell))
        (message,) = await self.runner.rows(_LEDGER, run=self.runner.config.steps[cell.marker]["run"])
        taken = self.killing.taken(cell)
        if cell.target.vendor == "inbox":
            taken = (await self.runner.rows(_INBOX, person=message["recipient"]))[0]["n"]
        return CellResult(cell, code, taken, message["status"])

    async def stuck(self) -> int:
        return int((await self.runner.rows(_STUCK))[0]["n"])


async def _run_dying_processes(config: Config, folder: Path) -> dict[str, int]:
    """Run the child process of every cell; its exit code by marker."""
    (folder / "config.json").write_text(json.dumps(asdict(config)))
    log = folder / "deaths.log"
    process = ForkedProcess(python_module(["tests.storm.dying_process", str(folder / "config.json")], log, {}))
    assert await process.wait() == 0, log.read_text()
    exits: dict[str, int] = json.loads((folder / "exits.json").read_text())
    return exits


@contextlib.asynccontextmanager
async def matrix(
    database_url: str, folder: Path, chosen: Sequence[Cell], *, naive: bool = False
) -> AsyncIterator[Matrix]:
    """Running providers, a run for each cell, and the step of each that is to be applied."""
    (folder / "templates" / "crash").mkdir(parents=True)
    text = URGENT.replace("Your export is ready. It", "{{ profile.first_name }}: your export is ready. It")
    (folder / "templates" / "crash" / "ready.md").write_text(text)
    killing = KillingProviders(folder, chosen)
    async with serve_killing(killing) as places:
        known = [cell.as_json() for cell in chosen]
        config = Config(database_url, places.provider, places.relay, str(folder), google_key(), known, naive=naive)
        runner = CellRunner(config)
        try:
            runner.config = replace(config, steps=await _entered(runner, chosen, places.provider))
            yield Matrix(runner, killing, folder)
        finally:
            await runner.close()


async def _entered(runner: CellRunner, chosen: Sequence[Cell], provider: str) -> dict[str, dict[str, Any]]:
    for name in {cell.adapter for cell in chosen if cell.target.kind == "message"}:
        adapter = ADAPTERS[name]
        await publish(runner.database, JOURNEY.format(name=adapter.name, via=adapter.via, data=adapter.data or "{}"))
    calls = [call for number, cell in enumerate(chosen) for call in _calls(cell, number, provider)]
    await ingest.accept(runner.database, runner.catalogue, calls, source="test")
    async with runner.database.transaction() as connection:
        await execute(connection, _MEMBER, markers=[cell.marker for cell in chosen if cell.target.kind == "audience"])
        if any(cell.target.kind == "task" for cell in chosen):
            await execute(connection, _TASK)
    steps = await first_steps(runner.database, runner.catalogue, "enter_{journey}")
    return {who: step for (who, _), step in steps.items()}


POINT = padless(bytes.fromhex("046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
                              "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"))  # fmt: skip
"""The generator of P-256, which is a valid browser key."""


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


async def test_a_crash_at_any_point_of_any_adapter_keeps_the_promise_of_its_class(
    database_url: str, tmp_path: Path
) -> None:
    chosen = cells()
    async with matrix(database_url, tmp_path, chosen) as crash_matrix:
        seen = await crash_matrix.seen(chosen)
        faults = {
            f"{result.cell.adapter} {result.cell.point}": why for result in seen if (why := broken_promise(result))
        }
        assert not faults, "\n".join(f"{where}: {why}" for where, why in faults.items())
        assert await crash_matrix.stuck() == 0, "every message is settled"


async def test_a_second_crash_during_recovery_leaves_a_result_that_the_class_allows(
    database_url: str, tmp_path: Path
) -> None:
    seed = int(os.environ.get("TENURE_STORM_SEED") or random.SystemRandom().randrange(10_000))
    chance = random.Random(seed)
    talking = [spec for spec in ADAPTERS.values() if spec.kind == "message"]
    drawn = [(spec.name, chance.choice(spec.points)) for _ in range(2) for spec in talking]
    chosen = [Cell(f"cell{number:03}x", adapter, point) for number, (adapter, point) in enumerate(drawn)]
    async with matrix(database_url, tmp_path, chosen) as crash_matrix:
        seen = await crash_matrix.seen_after_two(chosen, [chance.choice(POINTS) for _ in chosen])
        faults = {
            f"{result.cell.adapter} {result.cell.point}": why
            for result in seen
            if (why := broken_promise_after_two(result))
        }
        assert not faults, f"TENURE_STORM_SEED={seed}: {faults}"
        assert await crash_matrix.stuck() == 0, f"TENURE_STORM_SEED={seed}"


async def test_control_sending_before_recording_doubles_on_every_adapter_without_a_key(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyed = {name for name, spec in ADAPTERS.items() if spec.promise is Promise.KEYED}
    chosen = [cell for cell in cells(("acceptance-after",), ("message",)) if cell.adapter not in keyed]
    monkeypatch.setattr(evaluation.GatePass, "add", send_then_record)
    async with matrix(database_url, tmp_path, chosen, naive=True) as crash_matrix:
        doubled = {result.cell.adapter for result in await crash_matrix.seen(chosen) if result.taken == 2}
    assert doubled == {cell.adapter for cell in chosen} - {"webinar", "ticket"}, "which recognise a repeated call"
