"""Record `tests/histories`: every shipped journey on real servers. `python -m tests.durability.record_histories`.

Never replace a history while a run of its definition may be open: give a new case a new name.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

from temporalio.client import WorkflowHandle

from tests.support.skipped_time import SkippedTime, skipped_time
from worker.event_loop import run_until_done
from worker.pytest_plugin import fresh_database, session_servers
from worker.settings import ROOT
from worker.testing.decryption import fetch_decrypted
from worker.testing.replay import write_history

HISTORIES = ROOT / "tests" / "histories"


async def renewal(stage: SkippedTime) -> None:
    await stage.identify("cleo", email="cleo@example.com", role="champion")
    await stage.group("cleo", "acme", plan="team", renewal_date=(stage.now + timedelta(days=300)).isoformat())
    await stage.identify("adam", email="adam@example.com", role="admin")
    await stage.group("adam", "acme")
    await stage.signal(None, "contract_started", account="acme")
    await stage.forward(days=125)
    await stage.group("cleo", "acme", renewal_date=(stage.now + timedelta(days=130)).isoformat())
    await stage.forward(days=60)
    await stage.signal(None, "contract_renewed", account="acme")
    await stage.group("cleo", "acme", renewal_date=(stage.now + timedelta(days=400)).isoformat())
    await stage.forward(days=230)
    await stage.signal(None, "contract_cancelled", account="acme")


async def activation(stage: SkippedTime) -> None:
    await stage.identify("ada", email="ada@example.com", first_name="Ada", use_case="reports")
    await stage.signal("ada", "signed_up")
    await stage.forward(days=4)
    await stage.signal("ada", "integration_failed", code="E42")
    await stage.signal("ada", "setup_completed")
    await stage.forward(days=4)
    await stage.signal("ada", "activated")


async def helped(stage: SkippedTime) -> None:
    await stage.identify("bob", email="bob@example.com", account_fit=0.9)
    await stage.signal("bob", "signed_up")
    await stage.forward(days=40)


async def ticket(stage: SkippedTime) -> None:
    await stage.identify("ada", email="ada@example.com", first_name="Ada")
    await stage.signal("ada", "ticket_opened", ticket_id="t1", priority="urgent", subject="Down")
    await stage.forward(hours=9)
    await stage.signal("ada", "ticket_resolved", ticket_id="t1")
    await stage.forward(days=8)


async def shop(stage: SkippedTime) -> None:
    await stage.identify("ada", email="ada@example.com", rhythm_days=21.0, lifetime_value=250.0)
    for days in (20, 25, 95, 30, 10):
        await stage.signal("ada", "order_completed", order_id=f"o{days}", value=30.0)
        await stage.forward(days=days)
    for _ in range(20):
        await stage.signal("ada", "order_completed", order_id="again", value=1.0)
        await stage.forward(days=3)
    await stage.signal("ada", "account_closed")


async def confirmed(stage: SkippedTime) -> None:
    await stage.identify("ada", email="ada@example.com", first_name="Ada")
    request = {"request": "7", "channel": "email", "topic": "offers"}
    await stage.signal("ada", "consent_requested", **request)
    await stage.forward(hours=1)
    await stage.signal("ada", "consent_confirmed", **request)


CASES: dict[tuple[str, str], Callable[[SkippedTime], Awaitable[None]]] = {
    ("confirm-consent", "confirmed"): confirmed,
    ("renewal-readiness", "moved-twice"): renewal,
    ("setup-and-activation", "activated"): activation,
    ("setup-and-activation", "helped-and-missed"): helped,
    ("urgent-support", "resolved"): ticket,
    ("win-back-and-replenishment", "won-back"): shop,
}


async def record(postgres: str, temporal: str) -> None:
    for (journey, case), live in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            async with fresh_database(postgres) as url, skipped_time(url, temporal, Path(folder)) as stage:
                await stage.publish(ROOT / "catalog" / "journeys" / f"{journey}.yaml")
                await live(stage)
                for number, handle in enumerate(await chain(stage, journey), 1):
                    history = await fetch_decrypted(handle, stage.client.data_converter.payload_codec)
                    write_history(history, HISTORIES / journey / f"{case}-{number}.json.gz")
    names = sorted(path.parent.name for path in HISTORIES.rglob("*.json.gz"))
    counts = {name: names.count(name) for name in names}
    (HISTORIES / "expected_counts").write_text("".join(f"{name} {count}\n" for name, count in counts.items()))


async def chain(stage: SkippedTime, journey: str) -> list[WorkflowHandle[object, object]]:
    """The workflow executions of the journey's run, in order."""
    identity = next(run["id"] for run in await stage.runs() if run["journey"] == journey)
    handles: list[WorkflowHandle[object, object]] = []
    run_id: str | None = (await stage.client.get_workflow_handle(identity).describe()).run_id
    while run_id:
        handle = stage.client.get_workflow_handle(identity, run_id=run_id)
        handles.insert(0, handle)
        first = await anext(aiter(handle.fetch_history_events(page_size=1)))
        run_id = first.workflow_execution_started_event_attributes.continued_execution_run_id
    return handles


async def main() -> None:
    if len(sys.argv) == 3:
        await record(sys.argv[1], sys.argv[2])
        return
    with tempfile.TemporaryDirectory(prefix="tenure-record-") as folder:
        async with session_servers(Path(folder), time_skipping=True) as servers:
            await record(servers.postgres, servers.temporal)


if __name__ == "__main__":
    run_until_done(main())
    asyncio.set_event_loop(None)
