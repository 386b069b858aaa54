"""A process is killed at every point where something was done and is not yet recorded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from store.database import Database
from tests.storm.clients import Senders, entry, ping
from tests.storm.crash_points import FOLDER, POINTS, ROUND_MARK
from tests.storm.plan import Storm, write_catalog
from tests.storm.run import publish, say_nothing, wait_until_quiet
from tests.storm.verdict import read_ledger, read_sink
from worker.settings import load_settings
from worker.stack.supervisor import MODULES, Stack

WORKER = ["tests.storm.crash_points", "worker"]
ROUNDS = 2
API = ["tests.storm.crash_points", "api"]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("clean_environment")]


async def test_a_process_killed_at_any_point_loses_and_doubles_no_message(
    home: Path, database_url: str, temporal_address: str, task_queue: str
) -> None:
    deaths = home / "deaths"
    deaths.mkdir(parents=True)
    settings = load_settings(
        home=home, api_port=0, worker_port=0, catalog=write_catalog(home / "catalog"), graceful_shutdown_seconds=5,
        database_url=database_url, temporal_address=temporal_address, task_queue=task_queue,
    )  # fmt: skip
    modules = {**MODULES, "worker": WORKER, "api": API}
    async with Stack(settings, environ={FOLDER: str(deaths)}, modules=modules, say=say_nothing) as stack:
        database = Database(stack.endpoints.database_url, pool=2)
        await publish(database)
        senders = Senders(Storm(0, users=0), stack.endpoints.api_url)
        async with senders.client() as client:
            await senders.send_until_accepted(client, [call for point in POINTS for call in entry(point)])
            sent: list[str] = []
            for number in range(ROUNDS):
                tokens = [f"{point}{ROUND_MARK}{number}" for point in POINTS if not (deaths / point).exists()]
                for token in tokens:
                    await senders.send_until_accepted(client, [ping(token.partition(ROUND_MARK)[0], token)])
                sent += tokens
                remaining = await wait_until_quiet(database, 100, quiet_for=1.0)
                if {*POINTS} <= {path.name for path in deaths.iterdir()}:
                    break
        ledger, sink = await read_ledger(database), read_sink(home / "mail")
        await database.close()
    assert not any(remaining.values()), remaining
    assert {path.name for path in deaths.iterdir()} == {*POINTS, "retry-again"}, "every point was reached"
    assert ledger.by_status == {"sent": Counter(sent)}
    assert sink.tokens == Counter(sent)
